package temse.server;

import java.util.Map;
import java.util.TreeMap;
import java.util.function.Function;

/** Counts the header fields of a message by name, whose case does not matter. */
final class HeaderCounter implements Function<String, Long> {
  private final Map<String, Long> counts = new TreeMap<>(String.CASE_INSENSITIVE_ORDER);

  void clear() {
    counts.clear();
  }

  /** Returns which field of its name this one is, from 1. */
  @Override
  public Long apply(String name) {
    return counts.merge(name, 1L, Long::sum);
  }
}
