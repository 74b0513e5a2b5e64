package temse.transport.internal;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.time.Duration;
import java.util.List;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** Peers that read slowly, and what others write to them meanwhile. */
@Timeout(60)
class CongestionTest {
  private static final String LARGE = "x".repeat(100_000);

  /** Returns as many lines as will not fit into the socket's buffers. */
  private static String lines(int count) {
    return "large\n".repeat(count);
  }

  @Test
  void aConversationThatWantsRoomIsNotServedUntilThePeerReads() throws Exception {
    AtomicInteger calls = new AtomicInteger();
    ToyConversation.Handler handler =
        (line, link) -> {
          if (line.equals("large")) {
            calls.incrementAndGet();
            return LARGE;
          }
          return line;
        };
    try (ToyServer toy = new ToyServer(handler, options -> options.loops(1));
        ToyServer.Client slow = toy.connect();
        ToyServer.Client other = toy.connect()) {
      toy.toys.drains = true;
      slow.send(lines(1000) + "last\n");
      ToyServer.await("the peer takes no more", () -> toy.toys.drained.get() > 0);
      for (int i = 0; i < 100; i++) {
        assertEquals("other", other.ask("other"));
      }
      assertTrue(calls.get() < 500, "served though nobody reads: " + calls);
      for (int i = 0; i < 1000; i++) {
        assertEquals(LARGE, slow.read());
      }
      assertEquals("last", slow.read());
      assertEquals("again", slow.ask("again"));
      toy.assertOrderly();
    }
  }

  @Test
  void theSameHoldsForHandlersThatBlock() throws Exception {
    AtomicInteger calls = new AtomicInteger();
    ToyConversation.Handler handler =
        (line, link) -> {
          if (line.equals("large")) {
            TimeUnit.MILLISECONDS.sleep(calls.incrementAndGet() < 5 ? 20 : 0);
            return LARGE;
          }
          return line;
        };
    try (ToyServer toy = new ToyServer(handler, options -> options.loops(1));
        ToyServer.Client slow = toy.connect()) {
      toy.toys.drains = true;
      slow.send(lines(1000) + "last\n");
      ToyServer.await("the peer takes no more", () -> toy.toys.drained.get() > 0);
      for (int i = 0; i < 1000; i++) {
        assertEquals(LARGE, slow.read());
      }
      assertEquals("last", slow.read());
      assertTrue(toy.server.counters().handOvers() > 0);
      toy.assertOrderly();
    }
  }

  @Test
  void aPeerThatIsResetOrTooSlowWhileRoomIsWantedIsGivenUp() throws Exception {
    for (boolean reset : List.of(true, false)) {
      try (ToyServer toy =
              new ToyServer(
                  (line, link) -> LARGE,
                  options -> options.writeTimeout(Duration.ofMillis(reset ? 20_000 : 100)));
          ToyServer.Client slow = toy.connect()) {
        toy.toys.drains = true;
        slow.send(lines(1000));
        ToyServer.await("the peer takes no more", () -> toy.toys.drained.get() > 0);
        if (reset) {
          slow.socket.setSoLinger(true, 0);
          slow.socket.close();
        }
        ToyServer.await(toy.toys.endings);
        assertEquals(
            List.of(reset ? Conversation.End.PEER_CLOSED : Conversation.End.TIMED_OUT),
            List.copyOf(toy.toys.ends));
        toy.assertOrderly();
      }
    }
  }

  @Test
  void whatAnotherThreadWritesNeverInterleavesNorOvertakes() throws Exception {
    CountDownLatch release = new CountDownLatch(1);
    ToyConversation.Handler handler =
        (line, link) -> {
          link.output().put((LARGE.repeat(100) + "\n").getBytes());
          link.flush();
          Thread other =
              new Thread(
                  () -> {
                    for (int i = 0; i < 1000; i++) {
                      link.writeNow(("now " + i + "\n").getBytes());
                    }
                  });
          other.start();
          for (int i = 0; i < 1000; i++) {
            link.output().put(("flushed " + i + "\n").getBytes());
            link.flush();
          }
          other.join();
          release.await();
          return "end";
        };
    try (ToyServer toy = new ToyServer(handler, options -> options.loops(1));
        ToyServer.Client slow = toy.connect()) {
      slow.send("go\n");
      ToyServer.await("the loop is handed over", () -> toy.server.counters().handOvers() == 1);
      assertEquals(LARGE.repeat(100), slow.read());
      int now = 0;
      int flushed = 0;
      while (now + flushed < 2000) {
        String line = slow.read();
        String expected = line.startsWith("now") ? "now " + now++ : "flushed " + flushed++;
        assertEquals(expected, line);
      }
      release.countDown();
      assertEquals("end", slow.read());
      toy.assertOrderly();
    }
  }

  /** The backlog is written, or given up, though the handler has not returned. */
  @Test
  void theWriteTimeoutHoldsWhileAHandlerBlocks() throws Exception {
    CountDownLatch release = new CountDownLatch(1);
    ToyConversation.Handler handler =
        (line, link) -> {
          link.output().put((LARGE.repeat(200) + "\n").getBytes());
          link.flush();
          ToyServer.await("it is given up", () -> ((SocketLink) link).sender().isBroken());
          release.await();
          return "never";
        };
    try (ToyServer toy =
            new ToyServer(
                handler, options -> options.loops(1).writeTimeout(Duration.ofMillis(100)));
        ToyServer.Client slow = toy.connect()) {
      slow.send("go\n");
      ToyServer.await("the loop is handed over", () -> toy.server.counters().handOvers() == 1);
      release.countDown();
      ToyServer.await(toy.toys.endings);
      assertEquals(List.of(Conversation.End.TIMED_OUT), List.copyOf(toy.toys.ends));
      toy.assertOrderly();
    }
  }

  @Test
  void aHeldConnectionSaysSoInTimeWhetherHandedOverOrLent() throws Exception {
    CountDownLatch release = new CountDownLatch(1);
    ToyConversation.Handler handler =
        (line, link) -> {
          if (line.equals("block")) {
            release.await();
          }
          return line;
        };
    try (ToyServer toy = new ToyServer(handler, options -> options.loops(1));
        ToyServer.Client first = toy.connect();
        ToyServer.Client second = toy.connect()) {
      toy.toys.heldInterval = TimeUnit.MILLISECONDS.toNanos(20);
      first.send("block\n");
      ToyServer.await("the loop is handed over", () -> toy.server.counters().handOvers() == 1);
      second.send("block\n");
      for (int i = 0; i < 5; i++) {
        assertEquals("held", first.read());
        assertEquals("held", second.read());
      }
      assertEquals(1, toy.server.counters().lent());
      release.countDown();
      for (ToyServer.Client client : List.of(first, second)) {
        String line = client.read();
        while (line.equals("held")) {
          line = client.read();
        }
        assertEquals("block", line);
        assertEquals("x", client.ask("x"));
      }
      toy.assertOrderly();
    }
  }

  @Test
  void aHeldConnectionWhosePeerIsGoneEndsWhenTheHandlerReturns() throws Exception {
    CountDownLatch release = new CountDownLatch(1);
    ToyConversation.Handler handler =
        (line, link) -> {
          ToyServer.await("writing fails", () -> ((SocketLink) link).sender().isBroken());
          release.await();
          return line;
        };
    try (ToyServer toy = new ToyServer(handler)) {
      toy.toys.heldInterval = TimeUnit.MILLISECONDS.toNanos(10);
      ToyServer.Client client = toy.connect().send("block\n");
      assertEquals("held", client.read());
      client.socket.setSoLinger(true, 0);
      client.close();
      release.countDown();
      ToyServer.await(toy.toys.endings);
      assertEquals(List.of(Conversation.End.PEER_CLOSED), List.copyOf(toy.toys.ends));
      assertEquals(1, toy.toys.causes.size());
      toy.assertOrderly();
    }
  }
}
