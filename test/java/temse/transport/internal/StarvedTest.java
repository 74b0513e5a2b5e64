package temse.transport.internal;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.atomic.AtomicInteger;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** More handlers block than there may be threads for them. */
@Timeout(60)
class StarvedTest {
  private final CountDownLatch release = new CountDownLatch(1);
  private final List<ToyServer.Client> clients = new ArrayList<>();
  private final ToyConversation.Handler handler =
      (line, link) -> {
        if (line.contains("block")) {
          release.await();
        }
        return line;
      };

  private ToyServer server(Duration wait) throws Exception {
    return new ToyServer(handler, o -> o.loops(1).maxBlocked(2).maxBlockedWait(wait));
  }

  private ToyServer.Client connect(ToyServer toy) throws Exception {
    ToyServer.Client client = toy.connect();
    clients.add(client);
    return client;
  }

  /** Fills all threads with blocking handlers of one kind. */
  private List<ToyServer.Client> crowd(ToyServer toy) throws Exception {
    List<ToyServer.Client> blocked = new ArrayList<>();
    for (int i = 0; i < 2; i++) {
      blocked.add(connect(toy).send("block\n"));
    }
    ToyServer.await("all threads are held", () -> toy.server.spares().isCrowded());
    return blocked;
  }

  @AfterEach
  void close() throws Exception {
    release.countDown();
    for (ToyServer.Client client : clients) {
      client.close();
    }
  }

  @Test
  void aConnectionThatGetsNoThreadInTimeIsAnsweredWithoutItsHandler() throws Exception {
    try (ToyServer toy = server(Duration.ofMillis(50))) {
      List<ToyServer.Client> blocked = crowd(toy);
      ToyServer.Client starved = connect(toy).send("block\nrest\n");
      assertEquals("starved", starved.read());
      assertNull(starved.read());
      assertEquals(1, toy.server.counters().starved());
      ToyServer.await(toy.toys.endings);
      assertEquals(List.of(Conversation.End.CLOSED_HERE), List.copyOf(toy.toys.ends));
      toy.toys.starved = Conversation.Wish.READ;
      ToyServer.Client goesOn = connect(toy).send("block\nrest\n");
      assertEquals("starved", goesOn.read());
      assertEquals("rest", goesOn.read());
      release.countDown();
      for (ToyServer.Client client : blocked) {
        assertEquals("block", client.read());
        assertEquals("again", client.ask("again"));
      }
      toy.assertOrderly();
    }
  }

  @Test
  void whoGetsAThreadInTimeDoesNotStarve() throws Exception {
    try (ToyServer toy = server(Duration.ofSeconds(60))) {
      crowd(toy);
      ToyServer.Client waiting = connect(toy).send("block\nrest\n");
      ToyServer.await("it waits", () -> toy.server.counters().waits() == 1);
      release.countDown();
      assertEquals("block", waiting.read());
      assertEquals("rest", waiting.read());
      assertEquals(0, toy.server.counters().starved());
      toy.assertOrderly();
    }
  }

  @Test
  void handlersOfManyKindsThatBlockKeepNoFastOneOut() throws Exception {
    try (ToyServer toy = server(Duration.ofMillis(50));
        ToyServer.Client fast = toy.connect()) {
      crowd(toy);
      for (char kind = 'c'; kind <= 'y'; kind++) {
        connect(toy).send(kind + " block\n");
        assertEquals("z", fast.ask("z"));
      }
      assertEquals(0, toy.server.counters().stalls());
      toy.assertOrderly();
    }
  }

  @Test
  void connectionsThatEndAreNotHeldForEverByHandlersThatBlock() throws Exception {
    try (ToyServer toy = server(Duration.ofMillis(50))) {
      crowd(toy);
      for (int i = 0; i < 10; i++) {
        try (ToyServer.Client client = toy.connect()) {
          assertEquals("fast", client.ask("fast"));
        }
      }
      ToyServer.await("ten have ended", () -> toy.toys.ended.get() == 10);
      ToyServer.await("they are forgotten", () -> toy.server.connections() == 2);
      toy.assertOrderly();
    }
  }

  @Test
  void endsThatBlockUseHalfOfTheReserveAtMost() throws Exception {
    AtomicInteger ending = new AtomicInteger();
    try (ToyServer toy = server(Duration.ofMillis(1));
        ToyServer.Client fast = toy.connect()) {
      crowd(toy);
      toy.toys.atEnd =
          () -> {
            ending.incrementAndGet();
            try {
              release.await();
            } catch (InterruptedException e) {
              throw new IllegalStateException(e);
            }
          };
      for (int i = 0; i < 2 * Suspicion.KINDS; i++) {
        toy.connect().send("quit\n").close();
      }
      ToyServer.await("no more may end", () -> !toy.server.spares().hasRoomForEnds());
      for (int i = 0; i < 100; i++) {
        assertEquals("z", fast.ask("z"));
      }
      assertEquals(Suspicion.KINDS, ending.get());
      connect(toy).send("y block\n");
      assertEquals("z", fast.ask("z"));
      release.countDown();
      ToyServer.await("all have ended", () -> toy.toys.ended.get() == 2 * Suspicion.KINDS);
      assertTrue(toy.server.counters().stalls() == 0, "the loop was held up");
      toy.assertOrderly();
    }
  }
}
