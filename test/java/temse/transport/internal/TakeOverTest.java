package temse.transport.internal;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.net.InetSocketAddress;
import java.net.SocketAddress;
import java.nio.ByteBuffer;
import java.nio.channels.SocketChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.LinkOption;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicInteger;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;
import temse.transport.Endpoint;
import temse.transport.TransportOptions;

/** Servers that take a place to listen over from each other. */
@Timeout(60)
class TakeOverTest {
  private static final Duration LONG = Duration.ofHours(1);
  private static final int ROUNDS = 30;

  @TempDir private Path directory;

  private final ToyServer.Listener listener = new ToyServer.Listener();

  /** Returns a server that answers each line with its name. */
  private SocketServer start(String name, Endpoint endpoint, boolean takeOver) throws IOException {
    ToyConversation.Toys toys = new ToyConversation.Toys((line, link) -> name);
    TransportOptions options =
        TransportOptions.builder().name(name).daemon(true).takeOver(takeOver).build();
    return SocketServer.start(List.of(endpoint), options, toys::open, listener);
  }

  private static String ask(SocketAddress address) throws IOException {
    try (SocketChannel channel = SocketChannel.open(address)) {
      return ask(channel);
    }
  }

  private static String ask(SocketChannel channel) throws IOException {
    channel.write(ByteBuffer.wrap("x\n".getBytes(StandardCharsets.UTF_8)));
    ByteBuffer answer = ByteBuffer.allocate(100);
    while (answer.position() == 0 || answer.get(answer.position() - 1) != '\n') {
      if (channel.read(answer) < 0) {
        throw new IOException("closed");
      }
    }
    return new String(answer.array(), 0, answer.position() - 1, StandardCharsets.UTF_8);
  }

  private Endpoint unix() {
    return new Endpoint.Unix(directory.resolve("milter.sock"));
  }

  @Test
  void aUnixSocketIsReplacedAndTheOldServerGoesOnWithItsConnections() throws Exception {
    Endpoint endpoint = unix();
    Path path = directory.resolve("milter.sock");
    try (SocketServer first = start("first", endpoint, true);
        SocketChannel old = SocketChannel.open(endpoint.address())) {
      assertEquals("first", ask(old));
      try (SocketServer second = start("second", endpoint, true)) {
        assertEquals("second", ask(endpoint.address()));
        assertEquals("first", ask(old));
        CompletableFuture<Void> stopped =
            CompletableFuture.runAsync(() -> first.stop(LONG, Duration.ZERO));
        assertEquals("first", ask(old));
        old.shutdownOutput();
        stopped.join();
        assertEquals("second", ask(endpoint.address()), "its file is still there");
        assertEquals(1, second.endpoints().size());
      }
      assertFalse(Files.exists(path, LinkOption.NOFOLLOW_LINKS));
    }
    assertEquals(List.of(), List.of(directory.toFile().list()));
    assertEquals(List.of(), List.copyOf(listener.failures));
  }

  private static void look(SocketServer server) {
    server.loops()[0].post(() -> server.acceptors().get(0).fire(System.nanoTime()));
  }

  @Test
  void aServerThatWasTakenOverSaysSoOnce() throws Exception {
    try (SocketServer first = start("first", unix(), true)) {
      look(first);
      assertTrue(first.isResponding(Duration.ofSeconds(20)));
      assertEquals(List.of(), List.copyOf(listener.failures));
      try (SocketServer second = start("second", unix(), true)) {
        look(second);
        look(first);
        look(first);
        ToyServer.await("it says so", () -> !listener.failures.isEmpty());
        assertTrue(second.isResponding(Duration.ofSeconds(20)));
        assertTrue(first.isResponding(Duration.ofSeconds(20)));
        assertEquals(
            List.of(
                "nobody can connect to "
                    + unix()
                    + " here any more: another server has taken it over, or its file was removed"),
            listener.failures.stream().map(Throwable::getMessage).toList());
      }
    }
  }

  @Test
  void withoutTakingOverTheSecondStarterSaysThatItIsInUse() throws Exception {
    try (SocketServer first = start("first", unix(), true)) {
      IOException e = assertThrows(IOException.class, () -> start("second", unix(), false));
      assertTrue(e.getMessage().contains("is in use: somebody answers on it"), e.getMessage());
      assertEquals("first", ask(unix().address()));
      assertEquals(1, first.endpoints().size());
    }
  }

  @Test
  void whatIsNoSocketIsNotTakenOver() throws Exception {
    Path file = Files.writeString(directory.resolve("milter.sock"), "precious");
    IOException e = assertThrows(IOException.class, () -> start("first", unix(), true));
    assertTrue(e.getMessage().contains("is not a socket"), e.getMessage());
    assertEquals("precious", Files.readString(file));
    assertEquals(1, directory.toFile().list().length);
  }

  @Test
  void aTcpPortIsSharedByThoseAloneThatMayTakeOver() throws Exception {
    try (SocketServer first = start("first", Endpoint.parse("0"), true)) {
      Endpoint endpoint = first.endpoint();
      IOException e = assertThrows(IOException.class, () -> start("second", endpoint, false));
      assertTrue(e.getMessage().contains("listens there already"), e.getMessage());
      try (SocketServer second = start("second", endpoint, true)) {
        first.stop(Duration.ZERO);
        assertEquals("second", ask(endpoint.address()));
        assertEquals(endpoint, second.endpoint());
      }
    }
    try (SocketServer alone = start("alone", Endpoint.parse("0"), false)) {
      IOException e =
          assertThrows(IOException.class, () -> start("second", alone.endpoint(), true));
      assertTrue(
          e.getMessage().endsWith("already, of another user or not to be taken over"),
          e.getMessage());
      assertEquals("alone", ask(alone.endpoint().address()));
    }
  }

  /** Clients connect all the time, one after the other, while servers follow each other. */
  private int served(Endpoint endpoint, SocketServer first) throws Exception {
    SocketAddress address = endpoint.address();
    AtomicBoolean over = new AtomicBoolean();
    AtomicInteger served = new AtomicInteger();
    List<CompletableFuture<Void>> clients = new ArrayList<>();
    for (int i = 0; i < 2; i++) {
      clients.add(
          CompletableFuture.runAsync(
              () -> {
                while (!over.get()) {
                  try {
                    ask(address);
                    served.incrementAndGet();
                  } catch (IOException e) {
                    throw new AssertionError("after " + served + ": " + e, e);
                  }
                }
              }));
    }
    SocketServer present = first;
    try {
      for (int i = 0; i < ROUNDS; i++) {
        SocketServer next = start("server-" + i, endpoint, true);
        present.stop(LONG, LONG);
        present = next;
        int before = served.get();
        ToyServer.await(
            "the next one serves",
            () -> before < served.get() || clients.stream().anyMatch(CompletableFuture::isDone));
      }
      over.set(true);
      clients.forEach(CompletableFuture::join);
    } finally {
      over.set(true);
      present.close();
    }
    return served.get();
  }

  @Test
  void noClientOfAUnixSocketNoticesThatServersFollowEachOther() throws Exception {
    Endpoint endpoint = unix();
    assertTrue(ROUNDS <= served(endpoint, start("first", endpoint, true)));
    assertEquals(List.of(), List.copyOf(listener.failures));
  }

  /** A connection that was made in the instant before its listener ends is reset. */
  private static void askIfPossible(SocketChannel channel) {
    try {
      ask(channel);
    } catch (IOException reset) {
      // It was not refused.
    }
  }

  @Test
  void noConnectionIsRefusedAtATcpPortWhileServersFollowEachOther() throws Exception {
    SocketServer first = start("first", Endpoint.parse("0"), true);
    InetSocketAddress address = (InetSocketAddress) first.endpoint().address();
    AtomicBoolean over = new AtomicBoolean();
    AtomicInteger connected = new AtomicInteger();
    CompletableFuture<Void> client =
        CompletableFuture.runAsync(
            () -> {
              while (!over.get()) {
                try (SocketChannel channel = SocketChannel.open(address)) {
                  connected.incrementAndGet();
                  askIfPossible(channel);
                } catch (IOException e) {
                  throw new AssertionError(e);
                }
              }
            });
    SocketServer present = first;
    for (int i = 0; i < ROUNDS; i++) {
      SocketServer next = start("server-" + i, first.endpoint(), true);
      present.stop(LONG, LONG);
      present = next;
      int before = connected.get();
      ToyServer.await("somebody connects", () -> before < connected.get() || client.isDone());
    }
    over.set(true);
    client.join();
    present.close();
    assertTrue(ROUNDS <= connected.get());
  }
}
