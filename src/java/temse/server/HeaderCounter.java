package temse.server;

import java.util.HashMap;
import java.util.Locale;
import java.util.Map;

/** Counts the header fields of a message by name, whose case does not matter. */
final class HeaderCounter {
  private final Map<String, int[]> counts = new HashMap<>();

  void clear() {
    counts.clear();
  }

  /** Returns which field of its name this one is, from 1. */
  long next(String name) {
    int[] count = counts.computeIfAbsent(name.toLowerCase(Locale.ROOT), unused -> new int[1]);
    return ++count[0];
  }
}
