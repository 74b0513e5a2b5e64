import java.util.List;
import temse.message.MessageFilter;
import temse.protocol.Action;
import temse.protocol.ActionFlag;
import temse.server.MilterServer;
import temse.server.SystemLoggerListener;
import temse.transport.TransportOptions;

/**
 * Does what SeenFilter does with a message filter, which receives each message as a whole. The
 * benchmark measures it.
 */
final class SeenWhole {
  private SeenWhole() {}

  /** Returns the filter. */
  static MessageFilter filter() {
    return MessageFilter.of(
            (message, connection) -> {
              long headers =
                  message.headers().stream().filter(field -> !field.isNamed("X-Seen")).count();
              return List.of(Action.addHeader("X-Seen", headers + " " + message.body().size()));
            })
        .requires(ActionFlag.ADD_HEADER)
        .build();
  }

  public static void main(String[] args) throws InterruptedException {
    MilterServer server =
        MilterServer.builder(filter())
            .listenOn(args.length == 0 ? "inet:20025@127.0.0.1" : args[0])
            .transport(TransportOptions.builder().maxConnections(100_000).build())
            .listener(new SystemLoggerListener(System.getLogger("seen")))
            .start();
    Runtime.getRuntime().addShutdownHook(new Thread(server::close));
    System.out.println("SeenWhole listens on " + server.endpoint());
    server.join();
  }
}
