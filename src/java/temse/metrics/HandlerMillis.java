package temse.metrics;

import temse.server.HandlerTimes;

/** How long the handlers of one event took, in milliseconds, as JMX shows it. */
public final class HandlerMillis {
  private static final double MILLISECOND = 1e6;

  private final HandlerTimes times;

  HandlerMillis(HandlerTimes times) {
    this.times = times;
  }

  /** {@return how many times were recorded} */
  public long getCount() {
    return times.count();
  }

  /** {@return the median} */
  public double getP50() {
    return times.p50() / MILLISECOND;
  }

  /** {@return the 90th percentile} */
  public double getP90() {
    return times.p90() / MILLISECOND;
  }

  /** {@return the 99th percentile} */
  public double getP99() {
    return times.p99() / MILLISECOND;
  }

  /** {@return the longest} */
  public double getMax() {
    return times.max() / MILLISECOND;
  }
}
