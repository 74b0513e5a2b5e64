package temse.restart;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.time.Duration;
import temse.protocol.Action;
import temse.protocol.ActionFlag;
import temse.protocol.Event;
import temse.server.Milter;
import temse.server.MilterServer;
import temse.server.Step;
import temse.transport.TransportOptions;

/**
 * A process that marks each mail, as {@code examples/restart/mark.clj} does, for tests that start
 * many: it is quick to start. It takes the options of {@code temse run} that it needs.
 */
public final class MarkingServer {
  private MarkingServer() {}

  /**
   * Serves until SIGTERM.
   *
   * @param arguments an address to listen on, a file for the number of the process, and perhaps
   *     {@code --take-over}
   */
  public static void main(String[] arguments) throws Exception {
    Milter<String> milter =
        Milter.perMessage(() -> "")
            .requires(ActionFlag.ADD_HEADER)
            .on(
                Event.EndOfMessage.class,
                (end, state) ->
                    Step.next(state)
                        .respond(Action.addHeader("X-Marked", "" + ProcessHandle.current().pid())))
            .build();
    MilterServer server =
        MilterServer.builder(milter)
            .listenOn(arguments[0])
            .transport(
                TransportOptions.builder()
                    .takeOver(arguments.length > 2)
                    .unixMode(mode(arguments[0]))
                    .build())
            .drainTimeout(Duration.ofSeconds(15))
            .start();
    Runtime.getRuntime().addShutdownHook(new Thread(server::close));
    writeNumber(Path.of(arguments[1]));
    server.join();
  }

  private static String mode(String address) {
    return address.startsWith("unix:") ? "rw-rw-rw-" : null;
  }

  private static void writeNumber(Path file) throws IOException {
    String number = "" + ProcessHandle.current().pid();
    Path whole = file.resolveSibling("." + number);
    Files.writeString(whole, number + "\n");
    Files.move(whole, file, StandardCopyOption.ATOMIC_MOVE);
  }
}
