package temse.bench;

/** Counts durations in buckets whose width is at most a sixteenth of the value. */
public final class Histogram {
  private static final int BITS = 4;
  private static final int STEPS = 1 << BITS;

  private final long[] counts = new long[(Long.SIZE - BITS) * STEPS];
  private long total;

  void add(long nanos) {
    counts[bucket(nanos)]++;
    total++;
  }

  /** Returns a duration that this fraction of all durations does not exceed, in microseconds. */
  public double micros(double fraction) {
    long rank = (long) Math.ceil(fraction * total);
    int i = 0;
    for (long seen = counts[0]; seen < rank; seen += counts[i]) {
      i++;
    }
    return lowest(i + 1) / 1e3;
  }

  private static int bucket(long nanos) {
    if (nanos < STEPS) {
      return (int) Math.max(0, nanos);
    }
    int shift = Long.SIZE - 1 - BITS - Long.numberOfLeadingZeros(nanos);
    return (shift + 1) * STEPS + (int) (nanos >>> shift) - STEPS;
  }

  private static long lowest(int bucket) {
    int shift = bucket / STEPS - 1;
    return shift < 0 ? bucket : (long) (bucket % STEPS + STEPS) << shift;
  }
}
