package temse.metrics;

import java.util.LinkedHashMap;
import java.util.Map;
import java.util.NavigableMap;
import java.util.TreeMap;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicReferenceArray;
import java.util.concurrent.atomic.LongAdder;
import org.HdrHistogram.AtomicHistogram;
import org.HdrHistogram.Histogram;
import temse.protocol.EventType;
import temse.server.HandlerTimer;
import temse.server.HandlerTimes;
import temse.server.MilterServer;

/**
 * Keeps how long handlers took, in one HdrHistogram for each event that occurs: 27 KB each, however
 * many times are recorded. Times are counted in steps of a microsecond and, above a quarter of a
 * millisecond, of less than one hundredth; those of more than an hour count as an hour.
 *
 * <pre>{@code
 * HandlerHistograms.of(server);
 * ...
 * server.handlerTimes().get("end-of-message").p99();
 * }</pre>
 */
public final class HandlerHistograms implements HandlerTimer {
  private static final long STEP = TimeUnit.MICROSECONDS.toNanos(1);
  private static final long LONGEST = TimeUnit.HOURS.toNanos(1);
  private static final int DIGITS = 2;

  /** From a tenth of a millisecond, which a handler that only computes takes, to five minutes. */
  private static final long[] BOUNDS = {
    100_000L,
    250_000L,
    1_000_000L,
    2_500_000L,
    10_000_000L,
    25_000_000L,
    100_000_000L,
    250_000_000L,
    1_000_000_000L,
    2_500_000_000L,
    10_000_000_000L,
    30_000_000_000L,
    300_000_000_000L
  };

  private final AtomicReferenceArray<Times> times =
      new AtomicReferenceArray<>(EventType.values().length);

  /** Makes histograms in which nothing is recorded yet. */
  public HandlerHistograms() {}

  /**
   * {@return the histograms of a server's handlers, recorded from now on if they were not}
   *
   * @param server may have been measured before
   */
  public static HandlerHistograms of(MilterServer server) {
    synchronized (server) {
      for (HandlerTimer timer : server.timers()) {
        if (timer instanceof HandlerHistograms histograms) {
          return histograms;
        }
      }
      HandlerHistograms histograms = new HandlerHistograms();
      server.measureWith(histograms);
      return histograms;
    }
  }

  @Override
  public void record(EventType type, long nanos) {
    Times recorded = times.getAcquire(type.ordinal());
    if (recorded == null) {
      times.compareAndSet(type.ordinal(), null, new Times());
      recorded = times.get(type.ordinal());
    }
    recorded.add(Math.max(0, Math.min(nanos, LONGEST)));
  }

  @Override
  public Map<String, HandlerTimes> times() {
    Map<String, HandlerTimes> all = new LinkedHashMap<>();
    for (EventType type : EventType.values()) {
      Times recorded = times.get(type.ordinal());
      if (recorded != null) {
        all.put(type.keyword.getName(), recorded.snapshot());
      }
    }
    return all;
  }

  /** Those of one event. */
  private static final class Times {
    private final AtomicHistogram histogram = new AtomicHistogram(STEP, LONGEST, DIGITS);
    private final LongAdder sum = new LongAdder();

    void add(long nanos) {
      histogram.recordValue(nanos);
      sum.add(nanos);
    }

    HandlerTimes snapshot() {
      Histogram now = new Histogram(histogram);
      histogram.copyInto(now);
      NavigableMap<Long, Long> atMost = new TreeMap<>();
      for (long bound : BOUNDS) {
        atMost.put(bound, now.getCountBetweenValues(0, bound));
      }
      return new HandlerTimes(
          now.getTotalCount(),
          sum.sum(),
          now.getValueAtPercentile(50),
          now.getValueAtPercentile(90),
          now.getValueAtPercentile(99),
          now.getMaxValue(),
          atMost);
    }
  }
}
