package temse.transport.internal;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.Writer;
import java.net.StandardProtocolFamily;
import java.net.UnixDomainSocketAddress;
import java.nio.channels.ServerSocketChannel;
import java.nio.channels.SocketChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;
import temse.transport.TransportOptions;

/** Processes that start on the same Unix-domain socket at the same time. */
@Timeout(60)
class StartersTest {
  private static final int ROUNDS = 150;
  private static final TransportOptions OPTIONS = TransportOptions.builder().build();

  @TempDir private Path directory;

  /** A process that binds a socket when it is told to, and says what came of it. */
  static final class Starter {
    public static void main(String[] args) throws IOException {
      Path path = Path.of(args[0]);
      BufferedReader in =
          new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
      while (in.readLine() != null) {
        try (ServerSocketChannel channel = ServerSocketChannel.open(StandardProtocolFamily.UNIX)) {
          UnixSocketFile file = UnixSocketFile.bind(channel, path, OPTIONS);
          System.out.println("started");
          in.readLine();
          file.remove();
          System.out.println("stopped");
        } catch (IOException e) {
          System.out.println(e.getMessage());
          in.readLine();
          System.out.println("stopped");
        }
      }
    }
  }

  private static Process start(Path path) throws IOException {
    return new ProcessBuilder(
            Path.of(System.getProperty("java.home"), "bin", "java").toString(),
            "-XX:TieredStopAtLevel=1",
            "-cp",
            System.getProperty("java.class.path"),
            Starter.class.getName(),
            path.toString())
        .redirectError(ProcessBuilder.Redirect.INHERIT)
        .start();
  }

  private static List<String> ask(List<Process> starters) throws IOException {
    for (Process starter : starters) {
      Writer in = starter.outputWriter(StandardCharsets.UTF_8);
      in.write("\n");
      in.flush();
    }
    List<String> answers = new ArrayList<>();
    for (Process starter : starters) {
      answers.add(starter.inputReader(StandardCharsets.UTF_8).readLine());
    }
    return answers;
  }

  @Test
  void exactlyOneOfThreeStartsOnAStaleSocketAndIsHeard() throws Exception {
    Path path = directory.resolve("milter.sock");
    List<Process> starters = List.of(start(path), start(path), start(path));
    try {
      for (int i = 0; i < ROUNDS; i++) {
        try (ServerSocketChannel stale = ServerSocketChannel.open(StandardProtocolFamily.UNIX)) {
          stale.bind(UnixDomainSocketAddress.of(path));
        }
        List<String> answers = ask(starters);
        assertEquals(1, answers.stream().filter("started"::equals).count(), answers::toString);
        assertEquals(
            2,
            answers.stream().filter(answer -> answer.contains("is in use")).count(),
            "" + answers);
        try (SocketChannel probe = SocketChannel.open(UnixDomainSocketAddress.of(path))) {
          assertTrue(probe.isConnected());
        }
        ask(starters);
        try (Stream<Path> left = Files.list(directory)) {
          assertEquals(List.of(), left.toList());
        }
      }
    } finally {
      starters.forEach(Process::destroyForcibly);
    }
  }
}
