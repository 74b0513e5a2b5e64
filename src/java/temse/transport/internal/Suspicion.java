package temse.transport.internal;

import java.util.function.BooleanSupplier;

/**
 * Which kinds of user code are likely to block. One that was caught blocking is not run on a loop
 * again until it has proved to be fast on spare threads many times in a row.
 *
 * <p>Used by all threads without synchronisation: a lost update only costs a thread switch more or
 * a hand-over more.
 */
final class Suspicion {
  /** Making a conversation and reporting that it is there. */
  static final int OPENING = 64;

  /** Telling the conversation and the listener that a connection is over. */
  static final int ENDING = 65;

  /** The other reports to the listener. */
  static final int REPORTS = 66;

  /** How many there are, with those of {@link Link#enter}. */
  static final int KINDS = 67;

  private static final int PROOFS = 32;

  private final int[] proofsOwed = new int[KINDS];
  private final long grace;
  private final BooleanSupplier crowded;

  /**
   * @param grace nanoseconds that fast user code may take
   * @param crowded says whether no thread can be lent: until one can, no suspicion ends, so that
   *     each kind takes a loop's thread once at most
   */
  Suspicion(long grace, BooleanSupplier crowded) {
    this.grace = grace;
    this.crowded = crowded;
  }

  boolean of(int kind) {
    return proofsOwed[kind] != 0;
  }

  void raise(int kind) {
    proofsOwed[kind] = PROOFS;
  }

  /** Takes note of how long user code ran on a thread that carries no loop. */
  void ran(int kind, long nanos) {
    int owed = proofsOwed[kind];
    if (nanos >= grace) {
      proofsOwed[kind] = PROOFS;
    } else if (owed > 0 && !crowded.getAsBoolean()) {
      proofsOwed[kind] = owed - 1;
    }
  }
}
