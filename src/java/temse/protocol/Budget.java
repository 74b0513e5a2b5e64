package temse.protocol;

/**
 * An amount of memory, in octets, that many holders share: the unfinished packets of all
 * connections of a server, or its messages. Thread-safe.
 */
public final class Budget {
  private final long limit;
  private long taken;

  /**
   * Makes a budget of this many octets, nothing of which is taken.
   *
   * @param limit in octets
   */
  public Budget(long limit) {
    if (limit < 0) {
      throw new IllegalArgumentException("a limit must not be negative, this is " + limit);
    }
    this.limit = limit;
  }

  /**
   * Takes the octets, or nothing if too few are left.
   *
   * @param octets not negative
   * @return true if they were taken
   */
  public boolean tryTake(long octets) {
    return tryTake(octets, limit);
  }

  /**
   * Takes the octets as above, for a holder that leaves the rest when so many are taken in all.
   *
   * @param octets not negative
   * @param most that may be taken in all, at most the limit
   * @return true if they were taken
   */
  public synchronized boolean tryTake(long octets, long most) {
    if (octets > Math.min(most, limit) - taken) {
      return false;
    }
    taken += octets;
    return true;
  }

  /**
   * Gives back octets that were taken.
   *
   * @param octets as many as were taken
   */
  public synchronized void give(long octets) {
    taken -= octets;
  }

  /** {@return how many octets are taken} */
  public synchronized long taken() {
    return taken;
  }

  /** {@return how many octets can be taken in all} */
  public long limit() {
    return limit;
  }
}
