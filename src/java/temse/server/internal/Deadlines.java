package temse.server.internal;

import temse.protocol.MilterException;
import temse.server.EngineOptions;
import temse.transport.internal.Nanos;

/** How long an MTA may take: to negotiate, to finish a packet that it has begun, to send more. */
final class Deadlines {
  private final EngineOptions options;
  private final long openedAt;
  private long now;
  private long lastActivity;
  private long unfinishedSince;
  private boolean unfinished;

  Deadlines(EngineOptions options, long now) {
    this.options = options;
    this.openedAt = now;
    this.now = now;
    this.lastActivity = now;
  }

  /** Bytes have come, or something else that lets the conversation go on. */
  void received(long time) {
    now = time;
    lastActivity = time;
  }

  /**
   * The bytes were read up to here.
   *
   * @param packet whether a packet was completed
   * @param more whether a packet has begun whose rest is missing
   */
  void read(boolean packet, boolean more) {
    if (more && (packet || !unfinished)) {
      unfinishedSince = now;
    }
    unfinished = more;
  }

  /** {@return when the MTA is given up} */
  long next(boolean negotiated) {
    long due = Nanos.after(lastActivity, options.idleTimeout());
    if (!negotiated) {
      due = Math.min(due, Nanos.after(openedAt, options.negotiationTimeout()));
    }
    return unfinished ? Math.min(due, Nanos.after(unfinishedSince, options.packetTimeout())) : due;
  }

  /** {@return the error of an MTA that is given up now} */
  MilterException exceeded(long time, boolean negotiated) {
    String why =
        unfinished && time - unfinishedSince >= options.packetTimeout()
            ? "the MTA did not finish a packet in time"
            : !negotiated && time - openedAt >= options.negotiationTimeout()
                ? "the MTA did not negotiate in time"
                : "the MTA was silent for too long";
    return new MilterException(MilterException.Category.CONNECTION_LOST, why);
  }
}
