package temse.server.internal;

import java.util.concurrent.atomic.LongAdder;
import temse.protocol.Budget;
import temse.server.EngineOptions;

/**
 * What all connections of a server share: what they may take together, and counters. Any thread.
 */
public final class Counts {
  private final Budget unfinished;
  private final LongAdder limits = new LongAdder();
  private final LongAdder timeouts = new LongAdder();
  private final LongAdder listenerFailures = new LongAdder();

  /** Makes the counters of a new server, at zero. */
  public Counts(EngineOptions options) {
    this.unfinished = new Budget(options.maximumUnfinishedBytes());
  }

  /** Returns the bytes that unfinished packets may take together. */
  Budget unfinished() {
    return unfinished;
  }

  /** Counts that something has gone beyond a limit. */
  void limitExceeded() {
    limits.increment();
  }

  /** Counts that an MTA was given up. */
  void timedOut() {
    timeouts.increment();
  }

  /** Counts that a listener has thrown. */
  void listenerFailed() {
    listenerFailures.increment();
  }

  /** Returns how often a message, a packet or a connection went beyond a limit. */
  public long limitsExceeded() {
    return limits.sum();
  }

  /**
   * Returns how many connections were closed because the MTA did not negotiate in time, did not
   * finish a packet in time, or was silent for too long.
   */
  public long timeouts() {
    return timeouts.sum();
  }

  /** Returns how often a listener has thrown. */
  public long listenerFailures() {
    return listenerFailures.sum();
  }
}
