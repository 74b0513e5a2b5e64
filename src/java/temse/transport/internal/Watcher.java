package temse.transport.internal;

import java.util.concurrent.atomic.LongAdder;
import java.util.concurrent.locks.LockSupport;
import java.util.function.Consumer;

/**
 * The thread that notices user code which holds up a loop. It looks at the turn counters of all
 * loops: an odd number is user code, which it looks at again after the {@code grace}; the same odd
 * number then has run at least that long, and a spare thread is asked to take the loop over. A
 * thread that does not sleep or wait gets {@value #LOOKS_AT_RUNNING} graces, since on a busy
 * machine it may only be without a processor. Otherwise it looks every {@value #SELDOM} graces,
 * since each look costs as much as a small event.
 *
 * <p>It parks while the loops have nothing to do; the first user code after that wakes it.
 */
final class Watcher implements Runnable {
  private static final long LINGER = 50_000_000;
  private static final int SELDOM = 8;
  private static final int LOOKS_AT_RUNNING = 4;

  /** Memory that is short this many times will not come back. */
  private static final int FAILURES = 1000;

  private final EventLoop[] loops;
  private final Spares spares;
  private final long grace;
  private final long seldom;
  private final Consumer<Throwable> fatal;
  private final long[] seen;
  private final int[] looks;
  private final long[] asked;
  private final long[] stalled;
  private final LongAdder stalls = new LongAdder();
  private boolean metUserCode;
  private volatile Thread thread;
  private volatile boolean parked;
  private volatile boolean stopped;

  /**
   * @param grace nanoseconds that fast user code may take
   * @param fatal receives what it failed of if it cannot go on
   */
  Watcher(EventLoop[] loops, Spares spares, long grace, Consumer<Throwable> fatal) {
    this.loops = loops;
    this.spares = spares;
    this.grace = grace;
    this.seldom = grace > Long.MAX_VALUE / SELDOM ? Long.MAX_VALUE : SELDOM * grace;
    this.fatal = fatal;
    seen = new long[loops.length];
    looks = new int[loops.length];
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
    for (int failures = 0; !stopped; ) {
      try {
        watch();
      } catch (OutOfMemoryError problem) {
        if (++failures == FAILURES) {
          fatal.accept(problem);
          return;
        }
      } catch (Throwable problem) {
        fatal.accept(problem);
        return;
      }
    }
  }

  private void watch() {
    long quietSince = System.nanoTime();
    while (!stopped) {
      sleep(metUserCode ? grace : seldom);
      if (look()) {
        quietSince = System.nanoTime();
      } else if (System.nanoTime() - quietSince >= LINGER) {
        park();
        metUserCode = true;
        quietSince = System.nanoTime();
      }
    }
  }

  private void sleep(long nanos) {
    long until = System.nanoTime() + nanos;
    for (long left = nanos; left > 0 && !stopped; left = until - System.nanoTime()) {
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
    metUserCode = false;
    for (int i = 0; i < loops.length; i++) {
      long turn = loops[i].turn().count();
      boolean inUserCode = Turn.isInUserCode(turn);
      metUserCode |= inUserCode;
      busy |= inUserCode || turn != seen[i];
      if (turn != seen[i]) {
        seen[i] = turn;
        looks[i] = 0;
      } else if (inUserCode
          && turn != asked[i]
          && (++looks[i] >= LOOKS_AT_RUNNING || loops[i].waits())) {
        handOver(i, turn);
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
