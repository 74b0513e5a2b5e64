package temse.schedules;

import java.util.ArrayList;
import java.util.List;

/**
 * All schedules with a bounded number of deviations, one after the other. Without deviation a
 * thread goes on until it has to wait, then the oldest of those that can go on follows, and time
 * passes when there is none. Anything else is one deviation (as in Emmi et al., "Delay-Bounded
 * Scheduling", 2011).
 */
final class AllSchedules implements Strategy {
  private final int bound;
  private final List<Integer> choices = new ArrayList<>();
  private final List<Integer> options = new ArrayList<>();
  private int decided;
  private int deviations;

  AllSchedules(int bound) {
    this.bound = bound;
  }

  /** Goes back to the beginning of the schedule. */
  void rewind() {
    decided = 0;
    deviations = 0;
  }

  /** Turns to the next schedule; returns false if there is none. */
  boolean next() {
    rewind();
    for (int last = choices.size() - 1; last >= 0; last--) {
      if (choices.get(last) + 1 < options.get(last)) {
        choices.set(last, choices.get(last) + 1);
        return true;
      }
      choices.remove(last);
      options.remove(last);
    }
    return false;
  }

  @Override
  public int choose(List<ScheduledThread> ready, boolean runningIsReady, boolean mayPass) {
    int choice = deviations == bound ? 0 : pick(ready.size() + (mayPass ? 1 : 0));
    if (choice > 0) {
      deviations++;
    }
    return choice;
  }

  @Override
  public int pick(int count) {
    if (decided == choices.size()) {
      choices.add(0);
      options.add(count);
    } else if (options.get(decided) != count) {
      throw new IllegalStateException("the test depends on something else than the schedule");
    }
    return choices.get(decided++);
  }
}
