package temse.transport.internal;

import java.time.Duration;

/** Durations and times on the scale of {@link System#nanoTime}; what is too long is for ever. */
public final class Nanos {
  private static final Duration LONGEST = Duration.ofNanos(Long.MAX_VALUE);

  private Nanos() {}

  /**
   * {@return the length of a duration, {@link Long#MAX_VALUE} if it is longer than that (292
   * years)}
   *
   * @param name of the option, for the error
   * @param duration what the option was given
   * @throws IllegalArgumentException that names it if it is null or negative
   */
  public static long of(String name, Duration duration) {
    if (duration == null || duration.isNegative()) {
      throw new IllegalArgumentException(name + " must not be " + described(duration));
    }
    return duration.compareTo(LONGEST) >= 0 ? Long.MAX_VALUE : duration.toNanos();
  }

  /**
   * {@return the length of a duration like {@link #of}}
   *
   * @param name of the option, for the error
   * @param duration what the option was given
   * @throws IllegalArgumentException that names it if it is null, negative or zero
   */
  public static long ofPositive(String name, Duration duration) {
    if (duration == null || duration.isNegative() || duration.isZero()) {
      throw new IllegalArgumentException(name + " must be positive, not " + described(duration));
    }
    return of(name, duration);
  }

  /**
   * {@return the time that comes {@code nanos} after {@code time}, or {@link Long#MAX_VALUE},
   * never}
   *
   * @param time on the scale of {@link System#nanoTime}
   * @param nanos not negative
   */
  public static long after(long time, long nanos) {
    long sum = time + nanos;
    return sum < time ? Long.MAX_VALUE : sum;
  }

  private static String described(Duration duration) {
    return duration == null ? "null" : duration.isZero() ? "zero" : "negative (" + duration + ")";
  }
}
