package temse.schedules;

import java.util.ArrayList;
import java.util.List;
import java.util.SplittableRandom;

/**
 * A random schedule, of one of two sorts, which find different mistakes: one changes the thread
 * with a probability that is the same at each decision, the other runs the thread with the highest
 * priority and takes the priority away at a few random moments (as in Burckhardt et al., "A
 * Randomized Scheduler with Probabilistic Guarantees of Finding Bugs", 2010).
 */
final class RandomStrategy implements Strategy {
  private final SplittableRandom random;
  private final boolean byPriority;
  private final double change;
  private final double passing;
  private final List<Double> priorities = new ArrayList<>();

  /**
   * @param seed decides everything
   */
  RandomStrategy(long seed) {
    random = new SplittableRandom(seed);
    byPriority = random.nextBoolean();
    change = byPriority ? 0.1 / (1 << random.nextInt(8)) : 0.5 / (1 << random.nextInt(6));
    passing = random.nextInt(3) == 0 ? 0 : 0.1 / (1 << random.nextInt(8));
  }

  @Override
  public int choose(List<ScheduledThread> ready, boolean runningIsReady, boolean mayPass) {
    if (mayPass && random.nextDouble() < passing) {
      return ready.size();
    }
    boolean changes = random.nextDouble() < change;
    if (byPriority) {
      if (changes && runningIsReady) {
        priority(ready.get(0));
        priorities.set(ready.get(0).number(), -random.nextDouble());
      }
      return highest(ready);
    }
    if (!runningIsReady) {
      return random.nextInt(ready.size());
    }
    return changes && ready.size() > 1 ? 1 + random.nextInt(ready.size() - 1) : 0;
  }

  @Override
  public int pick(int count) {
    return random.nextInt(count);
  }

  private int highest(List<ScheduledThread> ready) {
    int best = 0;
    for (int i = 1; i < ready.size(); i++) {
      if (priority(ready.get(i)) > priority(ready.get(best))) {
        best = i;
      }
    }
    return best;
  }

  private double priority(ScheduledThread thread) {
    while (priorities.size() <= thread.number()) {
      priorities.add(random.nextDouble());
    }
    return priorities.get(thread.number());
  }
}
