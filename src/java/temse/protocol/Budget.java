package temse.protocol;

/**
 * An amount of memory, in octets, that many holders share: the unfinished packets of all
 * connections of a server. Thread-safe.
 */
public final class Budget {
  private final long limit;
  private long taken;

  /** Makes a budget of this many octets, nothing of which is taken. */
  public Budget(long limit) {
    if (limit < 0) {
      throw new IllegalArgumentException("a limit must not be negative, this is " + limit);
    }
    this.limit = limit;
  }

  /** Takes the octets and returns true, or takes nothing and returns false if too few are left. */
  public synchronized boolean tryTake(long octets) {
    if (octets > limit - taken) {
      return false;
    }
    taken += octets;
    return true;
  }

  /** Gives back octets that were taken. */
  public synchronized void give(long octets) {
    taken -= octets;
  }

  /** Returns how many octets are taken. */
  public synchronized long taken() {
    return taken;
  }

  /** Returns how many octets can be taken in all. */
  public long limit() {
    return limit;
  }
}
