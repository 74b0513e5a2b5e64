package temse.schedules;

import java.util.HashSet;
import java.util.Set;

/** What the schedules of a test have met; {@link Schedules#meeting} demands it. */
public final class Met {
  private final Set<String> outcomes = new HashSet<>();

  Met() {}

  /** Takes note of an outcome of the schedule that the calling thread belongs to. */
  public static void met(String outcome) {
    Scheduler.current().met().outcomes.add(outcome);
  }

  void check(String[] demanded) {
    for (String outcome : demanded) {
      if (!outcomes.contains(outcome)) {
        throw new AssertionError("no schedule has met: " + outcome + "; only " + outcomes);
      }
    }
  }
}
