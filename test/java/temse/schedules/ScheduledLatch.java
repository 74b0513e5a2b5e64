package temse.schedules;

import java.util.concurrent.TimeUnit;

/** What a {@link java.util.concurrent.CountDownLatch} becomes. */
public final class ScheduledLatch {
  private long count;

  public ScheduledLatch(int count) {
    this.count = count;
  }

  public void countDown() {
    count = Math.max(0, count - 1);
  }

  public long getCount() {
    return count;
  }

  public void await() throws InterruptedException {
    await(Long.MAX_VALUE, TimeUnit.NANOSECONDS);
  }

  public boolean await(long time, TimeUnit unit) throws InterruptedException {
    return Hooks.awaitInterruptibly(() -> count == 0, unit.toNanos(time));
  }
}
