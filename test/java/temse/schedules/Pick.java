package temse.schedules;

/** What a test leaves to the schedule besides the order of its threads. */
public final class Pick {
  private Pick() {}

  /** Returns a number from 0 to {@code count - 1}. */
  public static int number(int count) {
    return Scheduler.current().pick(count);
  }

  /** Returns one of the values. */
  @SafeVarargs
  public static <T> T of(T... values) {
    return values[number(values.length)];
  }
}
