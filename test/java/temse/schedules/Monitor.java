package temse.schedules;

import java.util.ArrayList;
import java.util.List;

/** What the monitor of an object becomes. For the thread that is running. */
final class Monitor {
  private ScheduledThread owner;
  private int entries;

  /** Those that wait to be notified. */
  private final List<ScheduledThread> waiting = new ArrayList<>();

  void enter(ScheduledThread me) {
    if (owner != me) {
      if (owner != null) {
        me.scheduler().await(() -> owner == null, Long.MAX_VALUE);
      }
      owner = me;
    }
    entries++;
  }

  void exit() {
    if (--entries == 0) {
      owner = null;
    }
  }

  void await(ScheduledThread me, long nanos) throws InterruptedException {
    checkOwner(me);
    int entered = entries;
    owner = null;
    entries = 0;
    waiting.add(me);
    Scheduler scheduler = me.scheduler();
    scheduler.await(() -> me.isInterrupted() || !waiting.contains(me), scheduler.deadline(nanos));
    boolean notified = !waiting.remove(me);
    enter(me);
    entries = entered;
    if (!notified && me.takeInterrupt()) {
      throw new InterruptedException();
    }
  }

  void signal(ScheduledThread me) {
    checkOwner(me);
    if (!waiting.isEmpty()) {
      waiting.remove(me.scheduler().pick(waiting.size()));
    }
  }

  void signalAll(ScheduledThread me) {
    checkOwner(me);
    waiting.clear();
  }

  private void checkOwner(ScheduledThread me) {
    if (owner != me) {
      throw new IllegalMonitorStateException();
    }
  }
}
