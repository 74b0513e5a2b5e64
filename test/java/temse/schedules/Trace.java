package temse.schedules;

import java.util.ArrayList;
import java.util.List;

/** What the threads of a schedule did, in order: a line for each time that one of them went on. */
final class Trace {
  private static final int SHOWN = 150;

  private final List<String> lines = new ArrayList<>();
  private final List<String> places = new ArrayList<>();
  private String thread = "test";
  private long began = -1;

  /** The running thread goes on, or another one does. */
  void add(long now, ScheduledThread next) {
    if (began < 0) {
      began = now;
    }
    if (!next.getName().equals(thread)) {
      endOfLine(now);
      thread = next.getName();
    }
    if (places.isEmpty() || !places.get(places.size() - 1).equals(next.where)) {
      places.add(next.where);
    }
  }

  private void endOfLine(long now) {
    String time = String.format("%9.3f ms  ", (now - began) / 1e6);
    lines.add(time + thread + ": " + String.join(", ", places));
    places.clear();
  }

  /** Returns the last lines. */
  String text(long now) {
    endOfLine(now);
    int from = Math.max(0, lines.size() - SHOWN);
    String omitted = from == 0 ? "" : "(" + from + " lines before)\n";
    return omitted + String.join("\n", lines.subList(from, lines.size()));
  }
}
