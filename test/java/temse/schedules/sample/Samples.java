package temse.schedules.sample;

import java.util.Queue;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.locks.LockSupport;
import temse.schedules.Met;
import temse.schedules.Schedules;

/** Small programs; all but the first few are wrong, each in its own way. */
public final class Samples {
  private int plain;
  private volatile boolean parked;
  private volatile boolean ready;

  // ---- right

  @Schedules(deviations = 2)
  void atomicCounter() throws Exception {
    AtomicInteger counter = new AtomicInteger();
    inTwoThreads(counter::incrementAndGet);
    check(counter.get() == 2, "an update is lost");
  }

  @Schedules(deviations = 2)
  void monitors() throws Exception {
    inTwoThreads(this::synchronizedIncrement);
    inTwoThreads(
        () -> {
          synchronized (this) {
            plain++;
          }
        });
    check(plain == 4, "an update is lost");
  }

  private synchronized void synchronizedIncrement() {
    plain++;
  }

  @Schedules(
      deviations = 1,
      meeting = {"in time", "too late"})
  void timeout() throws Exception {
    CountDownLatch latch = new CountDownLatch(1);
    Thread other = new Thread(latch::countDown);
    other.start();
    Met.met(latch.await(1, TimeUnit.MILLISECONDS) ? "in time" : "too late");
  }

  @Schedules(
      deviations = 1,
      meeting = {"in time"})
  void longTimeout() throws Exception {
    CountDownLatch latch = new CountDownLatch(1);
    Thread other = new Thread(latch::countDown);
    other.start();
    check(latch.await(1, TimeUnit.MINUTES), "the time is up");
    Met.met("in time");
  }

  @Schedules(deviations = 1)
  void sleepingThreadsWakeInOrder() throws Exception {
    Queue<String> log = new ConcurrentLinkedQueue<>();
    long start = System.nanoTime();
    Thread other =
        new Thread(
            () -> {
              LockSupport.parkNanos(TimeUnit.HOURS.toNanos(1));
              log.add("one hour");
            });
    other.start();
    Thread.sleep(TimeUnit.HOURS.toMillis(2));
    log.add("two hours");
    check(String.join(", ", log).equals("one hour, two hours"), log.toString());
    check(System.nanoTime() - start >= TimeUnit.HOURS.toNanos(2), "the time has passed");
  }

  @Schedules(
      deviations = 2,
      meeting = {"notified", "too late"})
  void waitingForAMonitor() throws Exception {
    Thread other = new Thread(this::tell);
    other.start();
    synchronized (this) {
      long end = System.nanoTime() + TimeUnit.MILLISECONDS.toNanos(1);
      while (!ready && System.nanoTime() < end) {
        TimeUnit.NANOSECONDS.timedWait(this, end - System.nanoTime());
      }
      Met.met(ready ? "notified" : "too late");
      while (!ready) {
        wait();
      }
    }
  }

  private synchronized void tell() {
    ready = true;
    notifyAll();
  }

  // ---- wrong

  @Schedules(deviations = 2)
  void notifyingOneOfTwo() throws Exception {
    Thread waiting =
        new Thread(
            () -> {
              synchronized (this) {
                parked = true;
                await();
              }
            });
    waiting.start();
    synchronized (this) {
      plain++;
      await();
    }
  }

  private void await() {
    try {
      if (parked && plain > 0) {
        notify();
      }
      wait();
    } catch (InterruptedException e) {
      throw new IllegalStateException(e);
    }
  }

  @Schedules(deviations = 1)
  void lostUpdateOfField() throws Exception {
    inTwoThreads(() -> plain++);
    check(plain == 2, "an update is lost");
  }

  @Schedules(random = 1000)
  void lostUpdateOfFieldByChance() throws Exception {
    inTwoThreads(() -> plain++);
    check(plain == 2, "an update is lost");
  }

  @Schedules(deviations = 1)
  void lostUpdateOfAtomic() throws Exception {
    AtomicInteger counter = new AtomicInteger();
    inTwoThreads(() -> counter.set(counter.get() + 1));
    check(counter.get() == 2, "an update is lost");
  }

  @Schedules(deviations = 1)
  void checkThenPoll() throws Exception {
    Queue<String> queue = new ConcurrentLinkedQueue<>();
    queue.add("one");
    inTwoThreads(
        () -> {
          if (!queue.isEmpty()) {
            check(queue.poll() != null, "somebody else has polled it");
          }
        });
  }

  @Schedules(deviations = 2)
  void lostWakeUp() throws Exception {
    Thread sleeper =
        new Thread(
            () -> {
              if (!ready) {
                parked = true;
                LockSupport.park();
              }
            });
    sleeper.start();
    ready = true;
    if (parked) {
      LockSupport.unpark(sleeper);
    }
    sleeper.join();
  }

  @Schedules(deviations = 1)
  void monitorsInAnyOrder() throws Exception {
    Object one = new Object();
    Object two = new Object();
    Thread other = new Thread(() -> enter(two, one));
    other.start();
    enter(one, two);
    other.join();
  }

  private void enter(Object first, Object second) {
    synchronized (first) {
      synchronized (second) {
        plain++;
      }
    }
  }

  @Schedules(deviations = 1)
  void twoCompletions() throws Exception {
    CompletableFuture<String> value = new CompletableFuture<>();
    AtomicInteger completions = new AtomicInteger();
    inTwoThreads(
        () -> {
          if (!value.isDone()) {
            value.complete("x");
            completions.incrementAndGet();
          }
        });
    check(completions.get() == 1, "completed twice");
  }

  @Schedules(deviations = 0)
  void threadThatDies() throws Exception {
    Thread other =
        new Thread(
            () -> {
              throw new IllegalStateException("it dies");
            });
    other.start();
    other.join();
  }

  @Schedules(deviations = 0)
  void threadThatIsLeftBehind() {
    new Thread(LockSupport::park).start();
  }

  @Schedules(deviations = 0)
  void endless() {
    while (!parked) {
      Thread.onSpinWait();
    }
  }

  @Schedules(
      deviations = 1,
      meeting = {"never"})
  void unmet() {}

  private static int runs;

  @Schedules(deviations = 1)
  void dependsOnMore() throws Exception {
    if (runs++ == 1) {
      new Thread(() -> ready = true).start();
    }
    inTwoThreads(() -> ready = true);
  }

  @Schedules(deviations = 0)
  void unsupported() throws Exception {
    new java.util.concurrent.Semaphore(1).acquire();
  }

  private static void inTwoThreads(Runnable work) throws InterruptedException {
    Thread other = new Thread(work);
    other.start();
    work.run();
    other.join();
  }

  private static void check(boolean holds, String message) {
    if (!holds) {
      throw new AssertionError(message);
    }
  }
}
