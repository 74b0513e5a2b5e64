package temse.transport;

import java.util.concurrent.TimeUnit;

/** When a server is to have stopped, and whether its loops have finished. Any thread. */
final class StopClock {
  private boolean stopping;
  private boolean finished;
  private long deadline = Long.MAX_VALUE;

  /** Sets the deadline, unless an earlier one is set; returns true the first time. */
  synchronized boolean stopBy(long time) {
    boolean first = !stopping;
    stopping = true;
    deadline = Math.min(deadline, time);
    notifyAll();
    return first;
  }

  /** All loops have finished. */
  synchronized void finish() {
    finished = true;
    notifyAll();
  }

  /** Waits until all loops have finished; false at the deadline, or at once if interrupted. */
  synchronized boolean awaitFinish() {
    while (!finished && deadline > System.nanoTime()) {
      if (!pause(deadline)) {
        return false;
      }
    }
    return finished;
  }

  /** Waits until all loops have finished; false after {@code nanos}, or at once if interrupted. */
  synchronized boolean awaitFinish(long nanos) {
    long until = Nanos.after(System.nanoTime(), nanos);
    while (!finished && until > System.nanoTime()) {
      if (!pause(until)) {
        return false;
      }
    }
    return finished;
  }

  private boolean pause(long until) {
    try {
      TimeUnit.NANOSECONDS.timedWait(this, Math.max(1, until - System.nanoTime()));
      return true;
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      return false;
    }
  }
}
