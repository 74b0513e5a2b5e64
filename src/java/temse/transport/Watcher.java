package temse.transport;

import java.util.concurrent.atomic.LongAdder;
import java.util.concurrent.locks.LockSupport;

/**
 * The thread that notices user code which holds up a loop. It looks at the turn counters of all
 * loops every {@code grace}: the same odd number twice is user code that has run at least that
 * long, and a spare thread is asked to take the loop over.
 *
 * <p>It parks while the loops have nothing to do; the first user code after that wakes it.
 */
final class Watcher implements Runnable {
  private static final long LINGER = 50_000_000;

  private final EventLoop[] loops;
  private final Spares spares;
  private final long grace;
  private final long[] seen;
  private final long[] asked;
  private final long[] stalled;
  private final LongAdder stalls = new LongAdder();
  private volatile Thread thread;
  private volatile boolean parked;
  private volatile boolean stopped;

  Watcher(EventLoop[] loops, Spares spares, long grace) {
    this.loops = loops;
    this.spares = spares;
    this.grace = grace;
    seen = new long[loops.length];
    asked = new long[loops.length];
    stalled = new long[loops.length];
  }

  /** To be called by a loop that has just made its turn counter odd. */
  void notice() {
    if (parked) {
      parked = false;
      LockSupport.unpark(thread);
    }
  }

  void stop() {
    stopped = true;
    LockSupport.unpark(thread);
  }

  boolean isParked() {
    return parked;
  }

  /** Returns how often a loop was held up because no spare thread could be had. */
  long stalls() {
    return stalls.sum();
  }

  @Override
  public void run() {
    thread = Thread.currentThread();
    long quietSince = System.nanoTime();
    while (!stopped) {
      sleep();
      if (look()) {
        quietSince = System.nanoTime();
      } else if (System.nanoTime() - quietSince >= LINGER) {
        park();
        quietSince = System.nanoTime();
      }
    }
  }

  private void sleep() {
    long until = System.nanoTime() + grace;
    for (long left = grace; left > 0 && !stopped; left = until - System.nanoTime()) {
      LockSupport.parkNanos(this, left);
    }
  }

  /** A loop first moves its counter, then looks whether we are parked; here it is the reverse. */
  private void park() {
    parked = true;
    if (!look()) {
      while (parked && !stopped) {
        LockSupport.park(this);
      }
    }
    parked = false;
  }

  /** Returns whether any loop has run user code since the last look. */
  private boolean look() {
    boolean busy = false;
    for (int i = 0; i < loops.length; i++) {
      long turn = loops[i].turn().count();
      if (turn != seen[i]) {
        seen[i] = turn;
        busy = true;
      } else if (Turn.isInUserCode(turn)) {
        busy = true;
        if (turn != asked[i]) {
          handOver(i, turn);
        }
      }
    }
    return busy;
  }

  private void handOver(int i, long turn) {
    EventLoop loop = loops[i];
    if (spares.hold(() -> loop.takeOver(turn))) {
      asked[i] = turn;
    } else if (turn != stalled[i]) {
      stalled[i] = turn;
      stalls.increment();
    }
  }
}
