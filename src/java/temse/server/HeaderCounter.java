package temse.server;

import java.util.Map;
import java.util.TreeMap;

/** Counts the header fields of a message by name, whose case does not matter. */
final class HeaderCounter {
  private final Map<String, int[]> counts = new TreeMap<>(String.CASE_INSENSITIVE_ORDER);

  void clear() {
    counts.clear();
  }

  /** Returns which field of its name this one is, from 1. */
  long next(String name) {
    int[] count = counts.computeIfAbsent(name, unused -> new int[1]);
    return ++count[0];
  }
}
