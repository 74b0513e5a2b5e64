package temse.transport.internal;

import static org.junit.jupiter.api.Assertions.assertEquals;

import java.util.concurrent.CountDownLatch;
import java.util.concurrent.atomic.AtomicInteger;
import temse.schedules.Met;
import temse.schedules.Schedules;

/** Who has a loop after user code, under all schedules of the threads that want it. */
class TurnSchedulesTest {
  private static final int EVENTS = 2;

  private final Turn turn = new Turn();
  private final AtomicInteger carriers = new AtomicInteger(1);
  private final AtomicInteger takenOver = new AtomicInteger();
  private final CountDownLatch finished = new CountDownLatch(1);
  private int served;

  @Schedules(
      deviations = 4,
      meeting = {"kept", "lost"})
  void oneOfTwoThreadsTakesTheTurn() throws Exception {
    long odd = turn.giveAway();
    AtomicInteger winners = new AtomicInteger();
    Thread spare = new Thread(() -> winners.addAndGet(turn.take(odd) ? 1 : 0));
    spare.start();
    boolean kept = turn.take(odd);
    Met.met(kept ? "kept" : "lost");
    spare.join();
    assertEquals(1, winners.get() + (kept ? 1 : 0));
  }

  @Schedules(
      deviations = 3,
      meeting = {"0 taken over", "1 taken over"})
  void aLoopIsCarriedByOneThreadAtATimeAndServesEveryEventOnce() throws Exception {
    Thread watcher = new Thread(this::watch);
    watcher.start();
    carry();
    finished.await();
    assertEquals(1, carriers.get());
    assertEquals(EVENTS, served);
    Met.met(takenOver.get() + " taken over");
  }

  /** Serves events until there are no more, or until the loop is lost. */
  private void carry() {
    while (served < EVENTS) {
      served++;
      assertEquals(0, carriers.decrementAndGet(), "carriers while user code runs");
      long odd = turn.giveAway();
      if (!turn.take(odd)) {
        return;
      }
      assertEquals(1, carriers.incrementAndGet(), "carriers after user code");
    }
    finished.countDown();
  }

  private void watch() {
    for (int look = 0; look < EVENTS; look++) {
      long count = turn.count();
      if (Turn.isInUserCode(count)) {
        new Thread(() -> takeOver(count)).start();
      }
    }
  }

  private void takeOver(long odd) {
    if (turn.take(odd)) {
      takenOver.incrementAndGet();
      assertEquals(1, carriers.incrementAndGet(), "carriers after a hand-over");
      carry();
    }
  }
}
