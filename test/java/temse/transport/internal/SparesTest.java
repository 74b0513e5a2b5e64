package temse.transport.internal;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.List;
import java.util.Queue;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import temse.transport.TransportOptions;

@Timeout(60)
class SparesTest {
  private final Queue<Throwable> problems = new ConcurrentLinkedQueue<>();
  private final Spares spares =
      new Spares(
          TransportOptions.builder().name("spares").loops(1).maxBlocked(2).build(), problems::add);

  @AfterEach
  void end() throws InterruptedException {
    spares.shutdown();
    assertTrue(spares.awaitEnd(TimeUnit.SECONDS.toNanos(20)));
  }

  @Test
  void runsEverythingButNeverMoreAtOnceThanAllowed() throws Exception {
    AtomicInteger running = new AtomicInteger();
    AtomicInteger most = new AtomicInteger();
    for (int round = 0; round < 20; round++) {
      CountDownLatch done = new CountDownLatch(50);
      for (int i = 0; i < 50; i++) {
        assertTrue(
            spares.lend(
                () -> {
                  most.accumulateAndGet(running.incrementAndGet(), Math::max);
                  Thread.yield();
                  running.decrementAndGet();
                  done.countDown();
                }));
      }
      ToyServer.await(done);
    }
    assertTrue(most.get() <= 2, "at once: " + most);
    assertEquals(1000, spares.lent());
    assertTrue(spares.waits() > 0);
  }

  @Test
  void holdsOnlyWhatIsAllowedAndTheReserve() throws Exception {
    int allowed = 2 + 2 * Suspicion.KINDS;
    CountDownLatch ran = new CountDownLatch(allowed);
    for (int i = 0; i < allowed; i++) {
      assertTrue(spares.hold(ran::countDown));
    }
    assertFalse(spares.hold(() -> {}));
    ToyServer.await(ran);
    assertFalse(spares.hold(() -> {}));
    assertTrue(spares.isCrowded());
    CountDownLatch waited = new CountDownLatch(1);
    assertTrue(spares.lend(waited::countDown));
    for (int i = 0; i < 2 * Suspicion.KINDS; i++) {
      spares.release();
    }
    assertEquals(1, waited.getCount(), "the reserve is not lent");
    spares.release();
    ToyServer.await(waited);
    assertFalse(spares.isCrowded());
    assertTrue(spares.hold(() -> {}));
  }

  @Test
  void givesWorkBackThatStillWaits() throws Exception {
    CountDownLatch release = new CountDownLatch(1);
    Runnable blocking =
        () -> {
          try {
            release.await();
          } catch (InterruptedException e) {
            throw new IllegalStateException(e);
          }
        };
    CountDownLatch later = new CountDownLatch(1);
    Runnable withdrawn = () -> problems.add(new AssertionError("it was withdrawn"));
    spares.lend(blocking);
    spares.lend(blocking);
    spares.lend(withdrawn);
    spares.lend(later::countDown);
    assertTrue(spares.withdraw(withdrawn));
    assertFalse(spares.withdraw(withdrawn));
    assertFalse(spares.withdraw(blocking));
    release.countDown();
    ToyServer.await(later);
    assertEquals(List.of(), List.copyOf(problems));
  }

  @Test
  void goesOnAfterWorkThatThrows() throws Exception {
    for (int i = 0; i < 3; i++) {
      spares.lend(
          () -> {
            throw new IllegalStateException();
          });
    }
    ToyServer.await("all were reported", () -> problems.size() == 3);
    CountDownLatch done = new CountDownLatch(1);
    spares.lend(done::countDown);
    ToyServer.await(done);
  }

  @Test
  void runsWhatWaitsWhenTheLimitIsLifted() throws Exception {
    CountDownLatch release = new CountDownLatch(1);
    CountDownLatch waited = new CountDownLatch(3);
    for (int i = 0; i < 2; i++) {
      spares.lend(
          () -> {
            try {
              release.await();
            } catch (InterruptedException e) {
              throw new IllegalStateException(e);
            }
          });
    }
    spares.lend(waited::countDown);
    spares.lend(waited::countDown);
    assertEquals(2, spares.waits());
    spares.liftLimit();
    spares.lend(waited::countDown);
    ToyServer.await(waited);
    release.countDown();
    assertEquals(List.of(), List.copyOf(problems));
  }

  @Test
  void saysThatThereIsNoThreadAfterTheShutdown() {
    spares.shutdown();
    assertFalse(spares.lend(() -> {}));
    assertFalse(spares.hold(() -> {}));
  }
}
