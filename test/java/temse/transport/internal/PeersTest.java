package temse.transport.internal;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;

import java.io.IOException;
import java.net.InetAddress;
import java.net.Socket;
import java.net.StandardProtocolFamily;
import java.net.UnixDomainSocketAddress;
import java.nio.channels.SocketChannel;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;
import temse.transport.Endpoint;
import temse.transport.TransportOptions;

/** Connections from one address. */
@Timeout(60)
class PeersTest {

  @Test
  void refusesConnectionsOfAPeerBeyondItsLimitAndOfNoOther() throws Exception {
    try (ToyServer toy =
            new ToyServer((line, link) -> line, options -> options.maxConnectionsPerPeer(2));
        ToyServer.Client first = toy.connect();
        ToyServer.Client second = toy.connect()) {
      assertEquals("x", first.ask("x"));
      assertEquals("x", second.ask("x"));
      try (ToyServer.Client third = toy.connect()) {
        assertNull(third.read());
      }
      assertEquals(
          List.of("there are 2 connections from 127.0.0.1 already"),
          List.copyOf(toy.listener.refused));
      assertEquals(1, toy.server.counters().refused());
      assertEquals(1, toy.server.counters().refusedPerPeer());
      InetAddress loopback = InetAddress.getLoopbackAddress();
      InetAddress other = InetAddress.getByName("127.0.0.2");
      try (Socket socket = new Socket(loopback, toy.port(), other, 0)) {
        socket.getOutputStream().write("x\n".getBytes());
        assertEquals('x', socket.getInputStream().read());
      }
      toy.assertOrderly();
    }
  }

  @Test
  void forgetsAConnectionHoweverItEnds() throws Exception {
    ToyConversation.Handler handler =
        (line, link) ->
            switch (line) {
              case "throw" -> throw new AssertionError("made up");
              case "wait" -> new CompletableFuture<String>();
              case "large" -> "x".repeat(20_000_000);
              case "block" -> {
                Thread.sleep(20);
                yield line;
              }
              default -> line;
            };
    try (ToyServer toy =
        new ToyServer(
            handler,
            options ->
                options.loops(1).maxConnectionsPerPeer(1).writeTimeout(Duration.ofMillis(50)))) {
      toy.toys.peerClosed = Conversation.Wish.CLOSE;
      int connections = 0;
      for (String line : List.of("quit", "throw", "wait", "large", "block", "x", "hal")) {
        for (boolean reset : List.of(true, false)) {
          ToyServer.await("it is free", () -> toy.server.peers().size() == 0);
          try (ToyServer.Client client = toy.connect()) {
            int expected = ++connections;
            client.send(line.length() == 3 ? line : line + "\n");
            ToyServer.await("it is known", () -> toy.toys.opened.get() == expected);
            client.socket.setSoLinger(reset, 0);
          }
        }
      }
      ToyServer.await("all is forgotten", () -> toy.server.peers().size() == 0);
      assertEquals(0, toy.server.counters().refused());
      ToyServer.await("none is counted", () -> toy.server.connections() == 0);
    }
  }

  @Test
  void forgetsAConnectionThatGetsNoConversation() throws Exception {
    try (SocketServer server =
        SocketServer.start(
            List.of(Endpoint.parse("0")),
            TransportOptions.builder().maxConnectionsPerPeer(1).build(),
            link -> {
              throw new IllegalStateException("made up");
            },
            new TransportListener() {})) {
      int port = ((Endpoint.Inet) server.endpoint()).port();
      for (int i = 0; i < 10; i++) {
        try (ToyServer.Client client = new ToyServer.Client(port)) {
          assertNull(client.read());
        }
        ToyServer.await("it is forgotten", () -> server.peers().size() == 0);
      }
      assertEquals(0, server.counters().refused());
    }
  }

  @Test
  void doesNotCountUnixSockets(@TempDir Path directory) throws Exception {
    Path path = directory.resolve("s");
    ToyConversation.Toys toys = new ToyConversation.Toys((line, link) -> line);
    List<SocketChannel> channels = new ArrayList<>();
    try (SocketServer server =
        SocketServer.start(
            List.of(Endpoint.parse("unix:" + path)),
            TransportOptions.builder().maxConnectionsPerPeer(1).build(),
            toys::open,
            new TransportListener() {})) {
      for (int i = 0; i < 5; i++) {
        SocketChannel channel = SocketChannel.open(StandardProtocolFamily.UNIX);
        channel.connect(UnixDomainSocketAddress.of(path));
        channels.add(channel);
      }
      ToyServer.await("all are served", () -> server.connections() == 5);
      for (SocketChannel channel : channels) {
        channel.close();
      }
    }
  }

  @Test
  void countsEachPeerUpToItsLimit() throws IOException {
    Peers peers = new Peers(2);
    InetAddress one = InetAddress.getByName("192.0.2.1");
    InetAddress mapped = InetAddress.getByName("::ffff:192.0.2.1");
    InetAddress six = InetAddress.getByName("2001:db8::1");
    assertEquals(true, peers.enter(one));
    assertEquals(true, peers.enter(mapped));
    assertEquals(false, peers.enter(one));
    assertEquals(true, peers.enter(six));
    assertEquals(true, peers.enter(null));
    peers.leave(null);
    peers.leave(one);
    peers.leave(one);
    peers.leave(six);
    assertEquals(0, peers.size());
    assertThrows(
        IllegalArgumentException.class,
        () -> TransportOptions.builder().maxConnectionsPerPeer(-1).build());
  }
}
