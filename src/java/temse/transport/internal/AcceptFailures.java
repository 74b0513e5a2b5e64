package temse.transport.internal;

import java.io.IOException;
import java.util.concurrent.TimeUnit;

/**
 * Decides which failures to accept a connection are reported. While descriptors are exhausted there
 * may be ten a second, between accepts that succeed: reported are the first, then once a minute how
 * many there have been since, and that there was none for a minute.
 */
final class AcceptFailures {
  static final long INTERVAL = TimeUnit.MINUTES.toNanos(1);

  private boolean lasting;
  private long reportedAt;
  private long lastAt;
  private long unreported;

  /**
   * An accept has failed.
   *
   * @return what to report, or null
   */
  IOException add(IOException problem, long now) {
    lastAt = now;
    if (!lasting) {
      lasting = true;
      reportedAt = now;
      return problem;
    }
    unreported++;
    if (now - reportedAt < INTERVAL) {
      return null;
    }
    IOException report =
        new IOException(
            "connections cannot always be accepted; failures since the last report: "
                + unreported
                + ", the last one: "
                + problem,
            problem);
    reportedAt = now;
    unreported = 0;
    return report;
  }

  /**
   * Looks whether they are over.
   *
   * @return what to report, or null
   */
  IOException look(long now) {
    if (!lasting || now - lastAt < INTERVAL) {
      return null;
    }
    IOException report =
        new IOException(
            "connections have been accepted again for a minute; failures since the last report: "
                + unreported);
    lasting = false;
    unreported = 0;
    return report;
  }

  /** Returns when to look, {@link Long#MAX_VALUE} for never. */
  long nextLook() {
    return lasting ? Nanos.after(lastAt, INTERVAL) : Long.MAX_VALUE;
  }
}
