package temse.transport.internal;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.Queue;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import temse.schedules.Met;
import temse.schedules.Schedules;
import temse.transport.TransportOptions;

/** Threads that are held, lent and released by several threads at once. */
class SparesSchedulesTest {
  private static final int WORKS = 2;

  private final Queue<Throwable> problems = new ConcurrentLinkedQueue<>();
  private final AtomicInteger running = new AtomicInteger();
  private final AtomicInteger ran = new AtomicInteger();
  private final CountDownLatch done = new CountDownLatch(WORKS);

  private Spares spares(int limit) {
    return new Spares(
        TransportOptions.builder().name("spares").loops(1).maxBlocked(limit).build(),
        problems::add);
  }

  private static void end(Spares spares) throws InterruptedException {
    spares.shutdown();
    assertTrue(spares.awaitEnd(TimeUnit.MINUTES.toNanos(1)));
  }

  private void work(int limit) {
    int now = running.incrementAndGet();
    Met.met(now + " at once");
    assertTrue(now <= limit, now + " at once");
    running.decrementAndGet();
    ran.incrementAndGet();
    done.countDown();
  }

  @Schedules(
      deviations = 2,
      meeting = {"1 at once", "0 waited", "1 waited"})
  void lentWorkRunsOnceAndNeverMoreAtOnceThanAllowed() throws Exception {
    Spares spares = spares(1);
    Thread other = new Thread(() -> assertTrue(spares.lend(() -> work(1))));
    other.start();
    assertTrue(spares.lend(() -> work(1)));
    other.join();
    Met.met(spares.waits() + " waited");
    while (!spares.hold(spares::release)) {
      Thread.sleep(1);
    }
    end(spares);
    assertEquals(WORKS, ran.get());
    assertEquals(0, problems.size());
  }

  @Schedules(
      deviations = 2,
      meeting = {"1 held"})
  void heldThreadsServeWhatWaitsWhenTheyAreReleased() throws Exception {
    Spares spares = spares(1);
    AtomicInteger held = new AtomicInteger();
    Thread watcher =
        new Thread(
            () -> {
              if (spares.hold(spares::release)) {
                held.incrementAndGet();
              }
            });
    watcher.start();
    assertTrue(spares.lend(() -> work(1)));
    assertTrue(spares.lend(() -> work(1)));
    watcher.join();
    Met.met(held.get() + " held");
    done.await();
    end(spares);
    assertEquals(WORKS, ran.get());
  }

  @Schedules(deviations = 2)
  void whatWaitsRunsOnceThoughTheLimitIsLifted() throws Exception {
    Spares spares = spares(1);
    spares.lend(() -> work(WORKS));
    Thread other = new Thread(spares::liftLimit);
    other.start();
    spares.lend(() -> work(WORKS));
    other.join();
    done.await();
    end(spares);
    assertEquals(WORKS, ran.get());
    assertEquals(0, problems.size());
  }
}
