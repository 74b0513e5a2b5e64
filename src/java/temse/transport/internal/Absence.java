package temse.transport.internal;

import java.util.ArrayDeque;
import java.util.Queue;

/**
 * A connection that is away from its loop: what waits for its return, and for how long. Carrier.
 */
final class Absence {
  /** How often a connection that is away is looked after if nothing else is due. */
  private static final long LOOK = 500_000_000;

  private final SocketLink link;
  private final Spares spares;
  private final Queue<Tasks.Task> postponed = new ArrayDeque<>(1);
  private boolean away;
  private Runnable awaited;
  private long starvesAt = Long.MAX_VALUE;

  Absence(SocketLink link, Spares spares) {
    this.link = link;
    this.spares = spares;
  }

  boolean isAway() {
    return away;
  }

  /** It is with a thread that its loop has left. */
  void begin() {
    away = true;
  }

  /**
   * It gets a thread, or waits for one.
   *
   * @param work what is to be done there
   * @param starvesAt when it has waited too long
   */
  void begin(Runnable work, long starvesAt) {
    away = true;
    this.awaited = work;
    this.starvesAt = starvesAt;
  }

  void end() {
    away = false;
    awaited = null;
    starvesAt = Long.MAX_VALUE;
  }

  /** Returns true, and it waits no more, if it has waited too long for a thread. */
  boolean starves(long now) {
    return starvesAt <= now && spares.withdraw(awaited);
  }

  /** Returns when the loop has to look after it at the latest. */
  long deadline(long now) {
    long starving = starvesAt <= now ? Long.MAX_VALUE : starvesAt;
    if (link.isClosed()) {
      return starving;
    }
    long next = Math.min(link.heldDeadline(), link.sender().deadline());
    return Math.min(Math.min(next, starving), now + LOOK);
  }

  void postpone(Tasks.Task task) {
    postponed.add(task);
  }

  /** Returns a task that waited for its return, or null. */
  Tasks.Task pollPostponed() {
    return postponed.poll();
  }
}
