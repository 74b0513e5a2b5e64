package temse.transport.internal;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.Socket;
import java.nio.file.Path;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;
import temse.network.Networks;
import temse.transport.Endpoint;
import temse.transport.TransportOptions;

/** Peers that may connect, and others. */
@Timeout(60)
class AllowTest {
  @TempDir private Path directory;

  /** Returns what comes back of a line, from an address of this machine; null at the end. */
  private static String askFrom(String address, int port) throws IOException {
    try (Socket socket = new Socket()) {
      socket.bind(new InetSocketAddress(address, 0));
      socket.connect(new InetSocketAddress("127.0.0.1", port));
      socket.setSoTimeout(20_000);
      socket.getOutputStream().write("x\n".getBytes());
      int first = socket.getInputStream().read();
      return first < 0 ? null : Character.toString(first);
    } catch (java.net.SocketException reset) {
      return null;
    }
  }

  @Test
  void peersOfOtherNetworksAreClosedReportedAndCounted() throws Exception {
    Networks allowed = Networks.of("127.0.66.0/24", "2001:db8::/32");
    try (ToyServer toy = new ToyServer((line, link) -> line, o -> o.allow(allowed))) {
      assertEquals("x", askFrom("127.0.66.7", toy.port()));
      assertNull(askFrom("127.0.67.7", toy.port()));
      assertEquals("x", askFrom("127.0.66.255", toy.port()));
      ToyServer.await("it is reported", () -> !toy.listener.refused.isEmpty());
      assertEquals(
          List.of("its address is not among those that may connect"),
          List.copyOf(toy.listener.refused));
      SocketServer.Counters counters = toy.server.counters();
      assertEquals(3, counters.accepted());
      assertEquals(1, counters.refused());
      assertEquals(1, counters.refusedByAddress());
      assertEquals(2, toy.toys.opened.get());
      toy.assertOrderly();
    }
  }

  @Test
  void withoutNetworksEverybodyMayConnect() throws Exception {
    try (ToyServer toy = new ToyServer((line, link) -> line)) {
      assertEquals("x", askFrom("127.0.67.7", toy.port()));
      assertEquals(0, toy.server.counters().refusedByAddress());
    }
  }

  @Test
  void addressesAreKnownWhateverTheirScope() throws Exception {
    Networks linkLocal = Networks.of("fe80::/10");
    byte[] octets = InetAddress.getByName("fe80::1").getAddress();
    assertTrue(linkLocal.contains(java.net.Inet6Address.getByAddress(null, octets, 1)));
    assertTrue(Networks.of("127.0.0.1").contains(InetAddress.getByName("127.0.0.1")));
  }

  @Test
  void peersOnUnixSocketsHaveNoAddresses() {
    TransportOptions options = TransportOptions.builder().allow(Networks.of("127.0.0.1")).build();
    Endpoint endpoint = new Endpoint.Unix(directory.resolve("milter.sock"));
    IOException e =
        assertThrows(
            IOException.class,
            () ->
                SocketServer.start(
                    List.of(endpoint), options, link -> null, new ToyServer.Listener()));
    assertEquals(
        "cannot listen on "
            + endpoint
            + ": who may connect is told by addresses, and peers on a Unix-domain socket have"
            + " none; the mode of its file says who may",
        e.getMessage());
    assertEquals(0, directory.toFile().list().length);
  }
}
