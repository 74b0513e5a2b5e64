package temse.transport.internal;

import java.lang.invoke.MethodHandles;
import java.lang.invoke.VarHandle;

/**
 * Decides who goes on with a loop when user code has run on it: the thread that ran it or the one
 * that was asked to take over. A counter is odd while user code runs; each of the two tries to set
 * it from that odd number to the next even one, and the one that succeeds has the loop.
 */
final class Turn {
  private static final VarHandle COUNT;

  static {
    try {
      COUNT = MethodHandles.lookup().findVarHandle(Turn.class, "count", long.class);
    } catch (ReflectiveOperationException e) {
      throw new ExceptionInInitializerError(e);
    }
  }

  private volatile long count;

  /** Any thread. */
  long count() {
    return count;
  }

  static boolean isInUserCode(long count) {
    return (count & 1) == 1;
  }

  /** Only the thread that has the loop; returns the number to {@link #take} it back with. */
  long giveAway() {
    long odd = count + 1;
    count = odd;
    return odd;
  }

  /** Returns whether the calling thread has the loop from now on. */
  boolean take(long odd) {
    return COUNT.compareAndSet(this, odd, odd + 1);
  }
}
