package temse.schedules;

import java.util.List;

/** Makes the decisions of one schedule. */
interface Strategy {

  /**
   * Chooses who goes on.
   *
   * @param ready the threads that can go on, at least one; the running one first, if it can
   * @param runningIsReady whether the running one can
   * @param mayPass whether time may pass instead
   * @return an index of {@code ready}, or its size for letting the time pass
   */
  int choose(List<ScheduledThread> ready, boolean runningIsReady, boolean mayPass);

  /** Chooses a number from 0 to {@code count - 1}. */
  int pick(int count);
}
