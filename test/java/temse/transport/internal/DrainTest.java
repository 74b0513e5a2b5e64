package temse.transport.internal;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CountDownLatch;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** A server that stops, and lets its peers go on for a while. */
@Timeout(60)
class DrainTest {
  private static final Duration LONG = Duration.ofHours(1);

  private static Thread stop(ToyServer toy, Duration drain, Duration grace) {
    Thread thread = new Thread(() -> toy.server.stop(drain, grace));
    thread.start();
    return thread;
  }

  private static void awaitEndOfListening(ToyServer toy) {
    ToyServer.await(
        "nobody can connect",
        () -> {
          try {
            toy.connect().close();
            return false;
          } catch (IOException refused) {
            return true;
          }
        });
  }

  @Test
  void idleConnectionsAreServedUntilTheirPeersClose() throws Exception {
    try (ToyServer toy = new ToyServer((line, link) -> line);
        ToyServer.Client idle = toy.connect()) {
      assertEquals("x", idle.ask("x"));
      Thread stopping = stop(toy, LONG, Duration.ZERO);
      awaitEndOfListening(toy);
      assertFalse(toy.server.isListening());
      assertEquals("y", idle.ask("y"));
      assertEquals("z", idle.ask("z"));
      assertTrue(stopping.isAlive());
      idle.socket.close();
      stopping.join();
      assertEquals(List.of(Conversation.End.PEER_CLOSED), List.copyOf(toy.toys.ends).subList(0, 1));
      toy.assertOrderly();
    }
  }

  @Test
  void aServerWithoutConnectionsHasNothingToDrain() throws Exception {
    ToyServer toy = new ToyServer((line, link) -> line);
    toy.server.stop(LONG, LONG);
    assertThrows(IOException.class, toy::connect);
    toy.assertOrderly();
  }

  @Test
  void whenTheDrainIsOverIdleConnectionsAreClosedAndOthersHaveTheGrace() throws Exception {
    CountDownLatch inside = new CountDownLatch(1);
    CountDownLatch release = new CountDownLatch(1);
    try (ToyServer toy =
            new ToyServer(
                (line, link) -> {
                  inside.countDown();
                  release.await();
                  return line;
                });
        ToyServer.Client idle = toy.connect();
        ToyServer.Client busy = toy.connect().send("x\n")) {
      ToyServer.await(inside);
      ToyServer.await("both are known", () -> toy.toys.opened.get() == 2);
      Thread stopping = stop(toy, Duration.ofMillis(50), LONG);
      assertNull(idle.read());
      release.countDown();
      assertEquals("x", busy.read());
      assertNull(busy.read());
      stopping.join();
      toy.assertOrderly();
    }
  }

  @Test
  void aSecondStopEndsTheDrain() throws Exception {
    try (ToyServer toy = new ToyServer((line, link) -> line);
        ToyServer.Client idle = toy.connect()) {
      assertEquals("x", idle.ask("x"));
      Thread first = stop(toy, LONG, LONG);
      awaitEndOfListening(toy);
      toy.server.stop(Duration.ZERO);
      assertNull(idle.read());
      first.join();
      toy.assertOrderly();
    }
  }

  /** While the only loop is held up, connections wait in the system. */
  @Test
  void connectionsThatWaitToBeAcceptedAreServed() throws Exception {
    CountDownLatch inside = new CountDownLatch(1);
    CountDownLatch release = new CountDownLatch(1);
    try (ToyServer toy =
        new ToyServer(
            (line, link) -> {
              if (line.equals("block")) {
                inside.countDown();
                release.await();
              }
              return line;
            },
            options -> options.loops(1).blockGrace(LONG))) {
      List<ToyServer.Client> waiting = new ArrayList<>();
      Thread stopping;
      try (ToyServer.Client blocking = toy.connect().send("block\n")) {
        ToyServer.await(inside);
        for (int i = 0; i < 100; i++) {
          waiting.add(toy.connect());
        }
        stopping = stop(toy, LONG, LONG);
        ToyServer.await("it stops", () -> !toy.server.isListening());
        release.countDown();
        assertEquals("block", blocking.read());
      }
      for (ToyServer.Client client : waiting) {
        assertEquals("x", client.ask("x"));
        client.close();
      }
      stopping.join();
      assertEquals(0, toy.server.connections());
      toy.assertOrderly();
    }
  }

  @Test
  void refusesWhatIsNoDrain() throws Exception {
    try (ToyServer toy = new ToyServer((line, link) -> line)) {
      for (Duration wrong : new Duration[] {null, Duration.ofNanos(-1)}) {
        IllegalArgumentException e =
            assertThrows(
                IllegalArgumentException.class, () -> toy.server.stop(wrong, Duration.ZERO));
        assertTrue(e.getMessage().startsWith("the drain must not be"), e.getMessage());
      }
      assertTrue(toy.server.isListening());
    }
  }
}
