package temse.server;

import java.util.Map;
import java.util.TreeMap;
import java.util.function.ToLongFunction;

/** Counts the header fields of a message by name, whose case does not matter. */
final class HeaderCounter implements ToLongFunction<String> {
  private final Map<String, int[]> counts = new TreeMap<>(String.CASE_INSENSITIVE_ORDER);

  void clear() {
    counts.clear();
  }

  /** Returns which field of its name this one is, from 1. */
  @Override
  public long applyAsLong(String name) {
    int[] count = counts.get(name);
    if (count == null) {
      count = new int[1];
      counts.put(name, count);
    }
    return ++count[0];
  }
}
