package temse.transport.internal;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.net.StandardProtocolFamily;
import java.net.UnixDomainSocketAddress;
import java.nio.channels.SocketChannel;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import temse.transport.Endpoint;
import temse.transport.TransportOptions;

/** Connections that nobody takes. */
class AcceptorTest {
  private static final int MANY = 100;

  @TempDir Path directory;

  /** Returns how many connections the system makes while the server takes none. */
  private int waiting(int backlog) throws IOException {
    Path socket = directory.resolve("backlog-" + backlog);
    TransportOptions options = TransportOptions.builder().backlog(backlog).build();
    Acceptor acceptor = Acceptor.open(Endpoint.parse("unix:" + socket), options);
    List<SocketChannel> clients = new ArrayList<>();
    try {
      while (clients.size() < MANY) {
        SocketChannel client = SocketChannel.open(StandardProtocolFamily.UNIX);
        clients.add(client);
        client.configureBlocking(false);
        if (!connected(client, socket)) {
          return clients.size() - 1;
        }
      }
      return MANY;
    } finally {
      for (SocketChannel client : clients) {
        client.close();
      }
      acceptor.close(
          problem -> {
            throw new AssertionError(problem);
          });
    }
  }

  private static boolean connected(SocketChannel client, Path socket) {
    try {
      return client.connect(UnixDomainSocketAddress.of(socket));
    } catch (IOException e) {
      return false; // EAGAIN, since the queue is full
    }
  }

  @Test
  void letsAsManyConnectionsWaitAsTheBacklogSays() throws Exception {
    int few = waiting(3);
    assertTrue(3 <= few && few < 10, "with a backlog of 3 there wait " + few);
    assertEquals(few + 20, waiting(23));
  }

  @Test
  void refusesABacklogOfNothing() {
    assertThrows(
        IllegalArgumentException.class, () -> TransportOptions.builder().backlog(0).build());
  }
}
