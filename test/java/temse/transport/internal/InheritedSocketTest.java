package temse.transport.internal;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import java.io.BufferedReader;
import java.io.File;
import java.io.IOException;
import java.net.DatagramPacket;
import java.net.DatagramSocket;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.ServerSocket;
import java.net.SocketAddress;
import java.net.UnixDomainSocketAddress;
import java.nio.ByteBuffer;
import java.nio.channels.SocketChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CountDownLatch;
import java.util.stream.Stream;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;
import temse.network.Networks;
import temse.transport.Endpoint;
import temse.transport.TransportOptions;

/** Processes that systemd-socket-activate gives a socket as their standard input. */
@Timeout(120)
class InheritedSocketTest {
  private static final String ACTIVATOR = "systemd-socket-activate";
  private static final Duration LONG = Duration.ofHours(1);

  @TempDir private Path directory;

  /**
   * Serves at the inherited socket, twice. The line "stop" stops the server and starts the next
   * one; other lines come back. What it has to say goes to the standard error.
   */
  static final class Inheritor {
    public static void main(String[] args) throws Exception {
      TransportOptions.Builder options = TransportOptions.builder();
      if (args.length > 0 && args[0].equals("take-over")) {
        options.takeOver(true);
      } else if (args.length > 0 && args[0].equals("allow")) {
        options.allow(Networks.of("192.0.2.1"));
      } else if (args.length > 0 && args[0].equals("mode")) {
        options.unixMode("rw-rw----");
      }
      for (int i = 0; i < 2; i++) {
        CountDownLatch stop = new CountDownLatch(1);
        try (SocketServer server = start(options.build(), stop)) {
          System.out.println("this must reach nobody");
          System.err.println("listens on " + server.endpoint());
          IOException second = null;
          try {
            start(options.build(), stop).close();
          } catch (IOException e) {
            second = e;
          }
          System.err.println(second == null ? "there are two" : second.getMessage());
          stop.await();
          server.stop(LONG, LONG);
        } catch (IOException e) {
          System.err.println(e.getMessage());
          return;
        }
        System.out.println("this must reach nobody either");
        System.err.println("stopped");
      }
    }

    private static SocketServer start(TransportOptions options, CountDownLatch stop)
        throws IOException {
      ToyConversation.Toys toys =
          new ToyConversation.Toys(
              (line, link) -> {
                if (line.equals("stop")) {
                  stop.countDown();
                }
                return line;
              });
      return SocketServer.start(
          List.of(new Endpoint.Inherited()), options, toys::open, new ToyServer.Listener());
    }
  }

  /** A process that is started when somebody connects, and the lines of its standard error. */
  private record Activated(Process process, BufferedReader errors) implements AutoCloseable {
    String line() throws IOException {
      return errors.readLine();
    }

    /** Returns the first line that is not the activator's own. */
    String said() throws IOException {
      String line = line();
      while (line != null
          && line.matches("(Listening|Communication|Execing|Connection|Spawned) .*")) {
        line = line();
      }
      return line;
    }

    @Override
    public void close() {
      process.descendants().forEach(ProcessHandle::destroyForcibly);
      process.destroyForcibly();
    }
  }

  private Activated activate(String address, List<String> switches, String... arguments)
      throws IOException {
    List<String> command = new ArrayList<>(List.of(ACTIVATOR, "--inetd", "-l", address));
    command.addAll(switches);
    command.addAll(java());
    command.addAll(List.of(arguments));
    Process process = new ProcessBuilder(command).start();
    BufferedReader errors = process.errorReader(StandardCharsets.UTF_8);
    String first = errors.readLine();
    assertTrue(first != null && first.startsWith("Listening on "), first);
    return new Activated(process, errors);
  }

  private static List<String> java() {
    return List.of(
        Path.of(System.getProperty("java.home"), "bin", "java").toString(),
        "-XX:TieredStopAtLevel=1",
        "-cp",
        System.getProperty("java.class.path"),
        Inheritor.class.getName());
  }

  private static int freePort() throws IOException {
    try (ServerSocket socket = new ServerSocket(0, 1, InetAddress.getLoopbackAddress())) {
      return socket.getLocalPort();
    }
  }

  private static String ask(SocketAddress address, String line) throws IOException {
    try (SocketChannel channel = SocketChannel.open(address)) {
      channel.write(ByteBuffer.wrap((line + "\n").getBytes(StandardCharsets.UTF_8)));
      ByteBuffer answer = ByteBuffer.allocate(100);
      while (channel.read(answer) >= 0 && answer.get(answer.position() - 1) != '\n') {
        // The rest is to come.
      }
      return new String(answer.array(), 0, answer.position(), StandardCharsets.UTF_8);
    }
  }

  @BeforeEach
  void needsTheActivator() {
    assumeTrue(
        Stream.of(System.getenv("PATH").split(File.pathSeparator))
            .anyMatch(path -> Path.of(path, ACTIVATOR).toFile().canExecute()),
        ACTIVATOR + " is not installed");
  }

  private void servesAndStopsAndServesAgain(Activated activated, SocketAddress address, String name)
      throws Exception {
    for (int i = 0; i < 2; i++) {
      assertEquals("x\n", ask(address, "x"));
      assertEquals("listens on " + name, i == 0 ? activated.said() : activated.line());
      assertEquals(
          "cannot listen on inherited: another milter of this process listens on the inherited"
              + " socket",
          activated.line());
      assertEquals("stop\n", ask(address, "stop"));
      assertEquals("stopped", activated.line(), "the standard error outlives the server");
    }
    assertEquals(0, activated.process().waitFor());
  }

  @Test
  void aTcpSocketIsServedAndOutlivesItsServer() throws Exception {
    int port = freePort();
    try (Activated activated = activate("127.0.0.1:" + port, List.of())) {
      servesAndStopsAndServesAgain(
          activated, new InetSocketAddress("127.0.0.1", port), "inet:" + port + "@127.0.0.1");
    }
  }

  @Test
  void aUnixSocketIsServedAndOutlivesItsServer() throws Exception {
    Path path = directory.resolve("inherited.sock");
    try (Activated activated = activate(path.toString(), List.of())) {
      servesAndStopsAndServesAgain(activated, UnixDomainSocketAddress.of(path), "unix:" + path);
      assertTrue(path.toFile().exists(), "the file is not the server's");
    }
  }

  @Test
  void oneConnectionIsNoPlaceToListen() throws Exception {
    int port = freePort();
    try (Activated activated = activate("127.0.0.1:" + port, List.of("--accept"))) {
      try (SocketChannel channel = SocketChannel.open(new InetSocketAddress("127.0.0.1", port))) {
        assertEquals(-1, channel.read(ByteBuffer.allocate(1)), "the error does not go to the peer");
      }
      assertEquals(
          "cannot listen on inherited: the standard input is one connection, not a socket that"
              + " listens: a .socket unit of systemd needs Accept=no, and systemd-socket-activate"
              + " no --accept",
          activated.said());
    }
  }

  @Test
  void aSocketOfDatagramsIsNoPlaceToListen() throws Exception {
    int port = freePort();
    try (Activated activated = activate("127.0.0.1:" + port, List.of("--datagram"));
        DatagramSocket socket = new DatagramSocket()) {
      socket.send(new DatagramPacket(new byte[] {1}, 1, InetAddress.getByName("127.0.0.1"), port));
      assertEquals(
          "cannot listen on inherited: the standard input is a socket of datagrams: a .socket unit"
              + " of systemd needs ListenStream=",
          activated.said());
    }
  }

  @Test
  void whatIsNotDecidedByTheServerIsRefused() throws Exception {
    Path path = directory.resolve("inherited.sock");
    String cannot = "cannot listen on inherited: ";
    for (List<String> expected :
        List.of(
            List.of("take-over", "there is nothing to take over"),
            List.of("allow", "who may connect is told by addresses"),
            List.of(
                "mode", "mode and group of the socket's file are for those who have made it"))) {
      try (Activated activated = activate(path.toString(), List.of(), expected.get(0))) {
        SocketChannel.open(UnixDomainSocketAddress.of(path)).close();
        String said = activated.said();
        assertTrue(said.startsWith(cannot + expected.get(1)), said);
      }
    }
  }

  @Test
  void whereNothingIsInheritedItSaysWhatToDo() throws Exception {
    Process process = new ProcessBuilder(java()).redirectInput(new File("/dev/null")).start();
    assertEquals(
        "cannot listen on inherited: the standard input is no socket: a service of systemd needs"
            + " StandardInput=socket and a .socket unit, and systemd-socket-activate needs --inetd",
        process.errorReader().readLine());
    assertEquals(0, process.waitFor());
  }

  @Test
  void nobodyConnectsToItByThisName() {
    IOException e = assertThrows(IOException.class, () -> new Endpoint.Inherited().address());
    assertTrue(e.getMessage().contains("nobody can connect to it by this name"), e.getMessage());
    assertEquals(new Endpoint.Inherited(), Endpoint.parseListening(" Inherited "));
    assertEquals(Endpoint.parse("20025"), Endpoint.parseListening("20025"));
    assertThrows(IllegalArgumentException.class, () -> Endpoint.parse("inherited"));
  }
}
