package temse.transport.internal;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicInteger;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import temse.transport.Endpoint;
import temse.transport.TransportOptions;

/** What is not the transport's, and does what it likes, hurts nobody else. */
@Timeout(60)
class ForeignCodeTest {

  /** Does something nasty in each of its methods. */
  private static final class Nasty implements TransportListener {
    final AtomicInteger calls = new AtomicInteger();
    final Runnable deed;
    volatile boolean awake = true;

    Nasty(Runnable deed) {
      this.deed = deed;
    }

    private void act() {
      if (awake) {
        calls.incrementAndGet();
        deed.run();
      }
    }

    @Override
    public void opened(String peer) {
      act();
    }

    @Override
    public void closed(String peer, Conversation.End how, Throwable cause) {
      act();
    }

    @Override
    public void refused(String peer, String why) {
      act();
    }

    @Override
    public void failed(Throwable problem) {
      act();
    }
  }

  private enum Problem {
    EXCEPTION {
      @Override
      void happen() {
        throw new IllegalStateException("made up");
      }
    },
    ERROR {
      @Override
      void happen() {
        throw new AssertionError("made up");
      }
    },
    MEMORY {
      @Override
      void happen() {
        throw new OutOfMemoryError("made up");
      }
    },
    STACK {
      @Override
      void happen() {
        happen();
      }
    },
    SNEAKY {
      @Override
      void happen() {
        Problem.<RuntimeException>sneak(new Exception("made up"));
      }
    };

    abstract void happen();

    @SuppressWarnings("unchecked")
    private static <T extends Throwable> void sneak(Throwable problem) throws T {
      throw (T) problem;
    }
  }

  /** Has everything reported: openings, ends, refusals, failures. */
  private static void provoke(ToyServer toy, int times) throws Exception {
    for (int i = 0; i < times; i++) {
      toy.connect().close();
      toy.server.loops()[0].reportFailure(new IllegalStateException("made up"));
    }
  }

  @ParameterizedTest
  @EnumSource
  void aListenerThatThrowsChangesNothing(Problem problem) throws Exception {
    Nasty nasty = new Nasty(problem::happen);
    try (ToyServer toy =
            new ToyServer((line, link) -> line, o -> o.loops(1).maxConnections(2), nasty);
        ToyServer.Client client = toy.connect()) {
      assertEquals("x", client.ask("x"));
      try (ToyServer.Client second = toy.connect();
          ToyServer.Client refused = toy.connect()) {
        assertEquals("y", second.ask("y"));
        assertNull(refused.read());
      }
      ToyServer.await("the second has ended", () -> toy.server.connections() == 1);
      provoke(toy, 10);
      assertEquals("x", client.ask("x"));
      ToyServer.await("all was reported", () -> nasty.calls.get() >= 1 + 1 + 1 + 1 + 10);
      assertEquals(List.of(), List.copyOf(toy.toys.violations));
    }
  }

  @Test
  void aListenerThatBlocksHoldsUpNobodyElse() throws Exception {
    CountDownLatch release = new CountDownLatch(1);
    Nasty nasty =
        new Nasty(
            () -> {
              try {
                release.await();
              } catch (InterruptedException e) {
                throw new IllegalStateException(e);
              }
            });
    nasty.awake = false;
    List<ToyServer.Client> others = new ArrayList<>();
    try (ToyServer toy =
            new ToyServer((line, link) -> line, o -> o.loops(1).maxConnections(12), nasty);
        ToyServer.Client client = toy.connect()) {
      for (int i = 0; i < 5; i++) {
        others.add(toy.connect());
        assertEquals("y", others.get(i).ask("y"));
      }
      nasty.awake = true;
      for (ToyServer.Client other : others) {
        other.close();
        assertEquals("x", client.ask("x"));
      }
      others.clear();
      for (int i = 0; i < 20; i++) {
        others.add(toy.connect());
        assertEquals("x", client.ask("x"));
        toy.server.loops()[0].reportFailure(new IllegalStateException("made up"));
        assertEquals("x", client.ask("x"));
      }
      ToyServer.await("some are refused", () -> toy.server.counters().refused() >= 10);
      for (int i = 0; i < 100; i++) {
        assertEquals("x", client.ask("x"));
      }
      assertEquals(0, toy.server.counters().stalls());
      release.countDown();
      for (ToyServer.Client other : others) {
        other.close();
      }
      ToyServer.await("all is over", () -> toy.server.connections() == 1);
      assertEquals("x", client.ask("x"));
      assertEquals(List.of(), List.copyOf(toy.toys.violations));
    }
  }

  @Test
  void reportsThatAListenerDoesNotTakeAreDroppedBeyondABoundAndCounted() throws Exception {
    CountDownLatch release = new CountDownLatch(1);
    Nasty nasty =
        new Nasty(
            () -> {
              try {
                release.await();
              } catch (InterruptedException e) {
                throw new IllegalStateException(e);
              }
            });
    nasty.awake = false;
    try (ToyServer toy = new ToyServer((line, link) -> line, o -> o.loops(1), nasty);
        ToyServer.Client client = toy.connect()) {
      assertEquals("x", client.ask("x"));
      nasty.awake = true;
      int reports = 2 * ReportLane.MOST;
      for (int i = 0; i < reports; i++) {
        toy.server.loops()[0].reportFailure(new IllegalStateException("made up"));
      }
      ToyServer.await("some are dropped", () -> toy.server.counters().droppedReports() > 0);
      assertEquals("x", client.ask("x"));
      release.countDown();
      ToyServer.await(
          "the others were made",
          () -> nasty.calls.get() + toy.server.counters().droppedReports() == reports);
      assertTrue(nasty.calls.get() >= ReportLane.MOST);
    }
  }

  @Test
  void makingAConversationMayBlockOrThrow() throws Exception {
    CountDownLatch release = new CountDownLatch(1);
    AtomicBoolean blocks = new AtomicBoolean();
    ToyServer.Listener listener = new ToyServer.Listener();
    ToyConversation.Toys toys = new ToyConversation.Toys((line, link) -> line);
    List<ToyServer.Client> others = new ArrayList<>();
    try (SocketServer server =
        SocketServer.start(
            List.of(Endpoint.parse("0")),
            TransportOptions.builder().loops(1).daemon(true).build(),
            link -> {
              if (blocks.get()) {
                ToyServer.awaitUninterrupted(release);
              }
              if (blocks.get()) {
                throw new AssertionError("made up");
              }
              return toys.open(link);
            },
            listener)) {
      int port = ((Endpoint.Inet) server.endpoint()).port();
      try (ToyServer.Client client = new ToyServer.Client(port)) {
        assertEquals("x", client.ask("x"));
        blocks.set(true);
        for (int i = 0; i < 10; i++) {
          others.add(new ToyServer.Client(port).send("y\n"));
          assertEquals("x", client.ask("x"));
        }
        ToyServer.await("all are known", () -> server.connections() == 11);
        release.countDown();
        for (ToyServer.Client other : others) {
          assertNull(other.read());
        }
        ToyServer.await("all are gone", () -> server.connections() == 1);
        assertEquals(10, listener.failures.size());
        blocks.set(false);
        for (int i = 0; i < 40; i++) {
          try (ToyServer.Client other = new ToyServer.Client(port)) {
            assertEquals("y", other.ask("y"));
          }
        }
        assertEquals("x", client.ask("x"));
      }
      assertEquals(List.of(), List.copyOf(toys.violations));
    }
  }

  /** A conversation that is made on another thread must hear of the stop all the same. */
  @Test
  void aConversationThatIsMadeWhileTheServerStopsEnds() throws Exception {
    CountDownLatch release = new CountDownLatch(1);
    CountDownLatch inside = new CountDownLatch(1);
    ToyServer.Listener listener = new ToyServer.Listener();
    ToyConversation.Toys toys = new ToyConversation.Toys((line, link) -> line);
    SocketServer server =
        SocketServer.start(
            List.of(Endpoint.parse("0")),
            TransportOptions.builder().loops(1).daemon(true).build(),
            link -> {
              inside.countDown();
              ToyServer.awaitUninterrupted(release);
              return toys.open(link);
            },
            listener);
    int port = ((Endpoint.Inet) server.endpoint()).port();
    try (ToyServer.Client client = new ToyServer.Client(port)) {
      ToyServer.await(inside);
      Thread stopper = new Thread(() -> server.stop(java.time.Duration.ofSeconds(30)));
      stopper.start();
      ToyServer.await("the loop knows", () -> server.loops()[0].isStopping());
      release.countDown();
      stopper.join();
      assertNull(client.read());
      assertEquals(List.of(Conversation.End.STOPPED), List.copyOf(toys.ends));
    }
  }
}
