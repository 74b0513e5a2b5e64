package temse.transport;

/**
 * Which kinds of user code are likely to block. One that was caught blocking is not run on a loop
 * again until it has proved to be fast on spare threads many times in a row.
 *
 * <p>Used by all threads without synchronisation: a lost update only costs a thread switch more or
 * a hand-over more.
 */
final class Suspicion {
  private static final int KINDS = 64;
  private static final int PROOFS = 32;

  private final int[] proofsOwed = new int[KINDS];
  private final long grace;

  /**
   * @param grace nanoseconds that fast user code may take
   */
  Suspicion(long grace) {
    this.grace = grace;
  }

  boolean of(int kind) {
    return proofsOwed[kind] != 0;
  }

  boolean ofAny() {
    for (int owed : proofsOwed) {
      if (owed != 0) {
        return true;
      }
    }
    return false;
  }

  void raise(int kind) {
    proofsOwed[kind] = PROOFS;
  }

  /** Takes note of how long user code ran on a thread that carries no loop. */
  void ran(int kind, long nanos) {
    int owed = proofsOwed[kind];
    if (nanos >= grace) {
      proofsOwed[kind] = PROOFS;
    } else if (owed > 0) {
      proofsOwed[kind] = owed - 1;
    }
  }
}
