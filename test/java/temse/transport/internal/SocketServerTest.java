package temse.transport.internal;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.File;
import java.io.IOException;
import java.net.ConnectException;
import java.time.Duration;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicReference;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import temse.transport.Endpoint;
import temse.transport.TransportOptions;

/** Life and limits of a server. */
@Timeout(60)
class SocketServerTest {
  private static final Duration LONG = Duration.ofSeconds(20);

  @Test
  void refusesConnectionsBeyondTheLimit() throws Exception {
    try (ToyServer toy = new ToyServer((line, link) -> line, options -> options.maxConnections(2));
        ToyServer.Client second = toy.connect()) {
      assertEquals("second", second.ask("second"));
      try (ToyServer.Client first = toy.connect()) {
        assertEquals("first", first.ask("first"));
        try (ToyServer.Client third = toy.connect()) {
          assertNull(third.read());
        }
        assertEquals(List.of("there are 2 connections already"), List.copyOf(toy.listener.refused));
        assertEquals(1, toy.server.counters().refused());
        assertEquals(3, toy.server.counters().accepted());
      }
      ToyServer.await("the first has ended", () -> toy.server.connections() == 1);
      try (ToyServer.Client fourth = toy.connect()) {
        assertEquals("fourth", fourth.ask("fourth"));
      }
    }
  }

  @Test
  void tellsItsListener() throws Exception {
    try (ToyServer toy = new ToyServer((line, link) -> line)) {
      String peer;
      try (ToyServer.Client client = toy.connect()) {
        peer = "inet:" + client.socket.getLocalPort() + "@127.0.0.1";
        client.ask("x");
        assertEquals(List.of(peer), List.copyOf(toy.listener.opened));
      }
      ToyServer.await("it has ended", () -> toy.server.connections() == 0);
      assertEquals(List.of(peer + " PEER_CLOSED"), List.copyOf(toy.listener.closed));
    }
  }

  @Test
  void survivesAListenerThatThrows() throws Exception {
    TransportListener nasty =
        new TransportListener() {
          @Override
          public void opened(String peer) {
            throw new IllegalStateException();
          }
        };
    ToyConversation.Toys toys = new ToyConversation.Toys((line, link) -> line);
    try (SocketServer server =
            SocketServer.start(
                List.of(Endpoint.parse("0")),
                TransportOptions.builder().build(),
                toys::open,
                nasty);
        ToyServer.Client client =
            new ToyServer.Client(((Endpoint.Inet) server.endpoint()).port())) {
      assertEquals("x", client.ask("x"));
    }
  }

  @Test
  void closesAConnectionThatCannotGetAConversation() throws Exception {
    AtomicBoolean fails = new AtomicBoolean(true);
    ToyServer.Listener listener = new ToyServer.Listener();
    ToyConversation.Toys toys = new ToyConversation.Toys((line, link) -> line);
    try (SocketServer server =
        SocketServer.start(
            List.of(Endpoint.parse("0")),
            TransportOptions.builder().build(),
            link -> {
              if (fails.getAndSet(false)) {
                throw new IllegalStateException("none");
              }
              return toys.open(link);
            },
            listener)) {
      int port = ((Endpoint.Inet) server.endpoint()).port();
      try (ToyServer.Client client = new ToyServer.Client(port)) {
        assertNull(client.read());
      }
      try (ToyServer.Client client = new ToyServer.Client(port)) {
        assertEquals("x", client.ask("x"));
      }
      assertEquals(1, listener.failures.size());
    }
  }

  @Test
  void listensOnSeveralEndpoints() throws Exception {
    ToyConversation.Toys toys = new ToyConversation.Toys((line, link) -> line);
    try (SocketServer server =
        SocketServer.start(
            List.of(Endpoint.parse("0"), Endpoint.parse("inet:0@localhost")),
            TransportOptions.builder().build(),
            toys::open,
            new TransportListener() {})) {
      for (Endpoint endpoint : server.endpoints()) {
        try (ToyServer.Client client = new ToyServer.Client(((Endpoint.Inet) endpoint).port())) {
          assertEquals("x", client.ask("x"));
        }
      }
    }
  }

  @Test
  void saysWhichEndpointIsTakenAndLeavesNothingOpen() throws Exception {
    try (ToyServer toy = new ToyServer((line, link) -> line)) {
      int descriptors = descriptors();
      String taken = "inet:" + toy.port() + "@127.0.0.1";
      IOException e =
          assertThrows(
              IOException.class,
              () ->
                  SocketServer.start(
                      List.of(Endpoint.parse("0"), Endpoint.parse(taken)),
                      TransportOptions.builder().build(),
                      toy.toys::open,
                      toy.listener));
      assertTrue(e.getMessage().contains(taken), e.getMessage());
      assertEquals(descriptors, descriptors());
    }
  }

  @Test
  void stopsWithIdleConnectionsAtOnceAndStartsAgainOnTheSamePort() throws Exception {
    ToyServer toy = new ToyServer((line, link) -> line);
    try (ToyServer.Client client = toy.connect()) {
      assertEquals("x", client.ask("x"));
      toy.server.stop(LONG);
      assertNull(client.read());
      assertEquals(List.of(Conversation.End.STOPPED), List.copyOf(toy.toys.ends));
      assertThrows(ConnectException.class, toy::connect);
      toy.server.stop(LONG);
      toy.server.join();
    }
    try (SocketServer again =
            SocketServer.start(
                List.of(toy.server.endpoint()),
                TransportOptions.builder().build(),
                toy.toys::open,
                toy.listener);
        ToyServer.Client client = toy.connect()) {
      assertEquals("x", client.ask("x"));
      assertEquals(toy.server.endpoint(), again.endpoint());
    }
    toy.assertOrderly();
  }

  @Test
  void letsWorkInProgressFinishWhenItStops() throws Exception {
    CountDownLatch release = new CountDownLatch(1);
    CountDownLatch inside = new CountDownLatch(2);
    CompletableFuture<String> value = new CompletableFuture<>();
    ToyConversation.Handler handler =
        (line, link) -> {
          inside.countDown();
          if (line.equals("pending")) {
            return value;
          }
          release.await();
          return "done";
        };
    ToyServer toy = new ToyServer(handler);
    try (ToyServer.Client blocked = toy.connect();
        ToyServer.Client pending = toy.connect()) {
      blocked.send("block\n");
      pending.send("pending\n");
      ToyServer.await(inside);
      Thread stopper = new Thread(() -> toy.server.stop(LONG));
      stopper.start();
      ToyServer.await("nobody can connect", () -> isRefused(toy));
      assertTrue(stopper.isAlive());
      release.countDown();
      value.complete("value");
      assertEquals("done", blocked.read());
      assertEquals("value", pending.read());
      assertNull(blocked.read());
      assertNull(pending.read());
      stopper.join();
      assertEquals(toy.toys.opened.get(), toy.toys.ended.get());
      toy.assertOrderly();
    }
  }

  private static boolean isRefused(ToyServer toy) {
    try {
      toy.connect().close();
      return false;
    } catch (IOException e) {
      return true;
    }
  }

  @Test
  void endsWhatIsPendingWhenTheGraceIsOver() throws Exception {
    CountDownLatch inside = new CountDownLatch(1);
    ToyConversation.Handler handler =
        (line, link) -> {
          inside.countDown();
          return new CompletableFuture<String>();
        };
    ToyServer toy = new ToyServer(handler);
    try (ToyServer.Client client = toy.connect()) {
      client.send("pending\n");
      ToyServer.await(inside);
      toy.server.stop(Duration.ofMillis(50));
      assertNull(client.read());
      assertEquals(List.of(Conversation.End.STOPPED), List.copyOf(toy.toys.ends));
      toy.assertOrderly();
    }
  }

  @Test
  void interruptsAHandlerThatBlocksBeyondTheGrace() throws Exception {
    AtomicReference<Exception> seen = new AtomicReference<>();
    CountDownLatch inside = new CountDownLatch(1);
    ToyConversation.Handler handler =
        (line, link) -> {
          inside.countDown();
          try {
            new CountDownLatch(1).await();
          } catch (InterruptedException e) {
            seen.set(e);
          }
          return line;
        };
    ToyServer toy = new ToyServer(handler);
    try (ToyServer.Client client = toy.connect()) {
      client.send("block\n");
      ToyServer.await(inside);
      toy.server.close();
      ToyServer.await(toy.toys.endings);
      assertTrue(seen.get() instanceof InterruptedException);
      assertEquals(1, toy.toys.ended.get());
      toy.assertOrderly();
    }
  }

  @Test
  void leavesAHandlerBehindThatIgnoresTheInterrupt() throws Exception {
    CountDownLatch release = new CountDownLatch(1);
    CountDownLatch inside = new CountDownLatch(1);
    ToyConversation.Handler handler =
        (line, link) -> {
          if (line.equals("other")) {
            return line;
          }
          inside.countDown();
          while (release.getCount() > 0) {
            try {
              release.await();
            } catch (InterruptedException e) {
              // Stubborn.
            }
          }
          return line;
        };
    ToyServer toy = new ToyServer(handler, options -> options.loops(1));
    try (ToyServer.Client client = toy.connect();
        ToyServer.Client other = toy.connect()) {
      client.send("block\n");
      ToyServer.await(inside);
      assertEquals("other", other.ask("other"));
      toy.server.stop(Duration.ofMillis(10));
      assertEquals(1, toy.toys.ended.get());
      assertEquals(List.of(List.of("toy-loop-0")), List.copyOf(toy.listener.leftBehind));
      assertNull(client.read(), "its socket is closed");
      release.countDown();
      ToyServer.await("the stubborn one has ended", () -> toy.toys.ended.get() == 2);
      assertEquals(
          List.of(Conversation.End.STOPPED, Conversation.End.STOPPED), List.copyOf(toy.toys.ends));
      ToyServer.await("no thread is left", () -> threads("toy").isEmpty());
      toy.assertOrderly();
    }
  }

  @Test
  void stopsThoughConnectionsWaitForThreadsThatNeverReturn() throws Exception {
    CountDownLatch release = new CountDownLatch(1);
    ToyConversation.Handler handler =
        (line, link) -> {
          while (release.getCount() > 0) {
            try {
              release.await();
            } catch (InterruptedException e) {
              // Stubborn.
            }
          }
          return line;
        };
    ToyServer toy = new ToyServer(handler, options -> options.loops(1).maxBlocked(1));
    try (ToyServer.Client first = toy.connect();
        ToyServer.Client second = toy.connect()) {
      first.send("block\n");
      ToyServer.await("the loop is handed over", () -> toy.server.counters().handOvers() == 1);
      second.send("block\n");
      ToyServer.await("one waits", () -> toy.server.counters().waits() == 1);
      toy.server.close();
      ToyServer.await("the waiting one has ended", () -> toy.toys.ended.get() == 1);
      release.countDown();
      ToyServer.await("the stubborn one has ended", () -> toy.toys.ended.get() == 2);
      toy.assertOrderly();
    }
  }

  @Test
  void canBeStoppedByItsOwnHandler() throws Exception {
    AtomicReference<SocketServer> server = new AtomicReference<>();
    ToyConversation.Handler handler =
        (line, link) -> {
          server.get().stop(LONG);
          assertThrows(IllegalStateException.class, () -> server.get().join());
          return "stopped";
        };
    ToyServer toy = new ToyServer(handler);
    server.set(toy.server);
    try (ToyServer.Client client = toy.connect()) {
      assertEquals("stopped", client.ask("stop"));
      assertNull(client.read());
      toy.server.join();
      toy.assertOrderly();
    }
  }

  @Test
  void runsBlockingUserCodeAtTheEndOfConnections() throws Exception {
    CountDownLatch release = new CountDownLatch(1);
    try (ToyServer toy = new ToyServer((line, link) -> line, options -> options.loops(1));
        ToyServer.Client other = toy.connect()) {
      toy.toys.atEnd =
          () -> {
            try {
              release.await();
            } catch (InterruptedException e) {
              throw new IllegalStateException(e);
            }
          };
      for (int i = 0; i < 20; i++) {
        toy.connect().close();
      }
      assertEquals("other", other.ask("other"));
      ToyServer.await("all are known", () -> toy.toys.opened.get() == 21);
      assertEquals("other", other.ask("other"));
      release.countDown();
      ToyServer.await("all have ended", () -> toy.server.connections() == 1);
      assertEquals(20, toy.toys.ended.get());
      assertTrue(toy.server.counters().lent() >= 10, "blocking is foreseen");
      toy.assertOrderly();
    }
  }

  @Test
  void leavesNoThreadAndNoDescriptorBehind() throws Exception {
    new ToyServer((line, link) -> line).close();
    int descriptors = descriptors();
    ToyConversation.Handler handler =
        (line, link) -> {
          if (line.hashCode() % 50 == 0) {
            Thread.sleep(2);
          }
          return line;
        };
    try (ToyServer toy = new ToyServer(handler, options -> options.loops(2))) {
      for (int i = 0; i < 2500; i++) {
        try (ToyServer.Client client = toy.connect()) {
          assertEquals("line " + i, client.ask("line " + i));
        }
      }
      ToyServer.await("all have ended", () -> toy.server.connections() == 0);
      assertEquals(2500, toy.toys.ended.get());
      toy.assertOrderly();
    }
    ToyServer.await("no thread is left", () -> threads("toy").isEmpty());
    ToyServer.await("no descriptor is left open", () -> descriptors() <= descriptors);
  }

  private static List<String> threads(String prefix) {
    return Thread.getAllStackTraces().keySet().stream()
        .filter(Thread::isAlive)
        .map(Thread::getName)
        .filter(name -> name.startsWith(prefix + "-"))
        .toList();
  }

  private static int descriptors() {
    String[] descriptors = new File("/proc/self/fd").list();
    assertFalse(descriptors == null, "there is no /proc");
    return descriptors.length;
  }
}
