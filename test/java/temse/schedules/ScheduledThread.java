package temse.schedules;

import java.util.ArrayList;
import java.util.List;
import java.util.function.BooleanSupplier;

/** What a {@link Thread} becomes: it goes on only while the scheduler lets it. */
public class ScheduledThread extends Thread {
  private final Scheduler scheduler;
  private final int number;
  private int depth;

  // What follows is used by the thread that is running.
  boolean done;
  BooleanSupplier until;
  long deadline;
  String where = "start";
  final List<Object> entered = new ArrayList<>();
  boolean permitted;
  boolean interrupted;
  int quiet;

  /** Makes a thread of the schedule that the calling thread belongs to. */
  public ScheduledThread(Runnable work) {
    this(Scheduler.current(), work, null);
  }

  /** Makes a thread of the schedule that the calling thread belongs to. */
  public ScheduledThread(Runnable work, String name) {
    this(Scheduler.current(), work, name);
  }

  ScheduledThread(Scheduler scheduler, Runnable work, String name) {
    this(scheduler, work, name, scheduler.newNumber());
  }

  private ScheduledThread(Scheduler scheduler, Runnable work, String name, int number) {
    super(work, name == null ? "thread-" + number : name);
    this.scheduler = scheduler;
    this.number = number;
  }

  Scheduler scheduler() {
    return scheduler;
  }

  /** Returns 0 for the thread of the test, and so on in the order in which threads were made. */
  int number() {
    return number;
  }

  @Override
  public void start() {
    setDaemon(true);
    setUncaughtExceptionHandler((thread, problem) -> {});
    scheduler.add(this);
    super.start();
  }

  /** The runs of subclasses are woven to begin and end like this one. */
  @Override
  public void run() {
    begin();
    try {
      super.run();
    } catch (Throwable problem) {
      died(problem);
      return;
    }
    end();
  }

  final void begin() {
    if (depth++ == 0) {
      scheduler.awaitTurn(this);
    }
  }

  final void end() {
    if (--depth == 0) {
      done = true;
      scheduler.reschedule();
    }
  }

  final void died(Throwable problem) {
    scheduler.fail(problem);
  }

  @Override
  public void interrupt() {
    interrupted = true;
  }

  @Override
  public boolean isInterrupted() {
    return interrupted;
  }

  boolean takeInterrupt() {
    boolean was = interrupted;
    interrupted = false;
    return was;
  }

  boolean isReady(long now) {
    return until == null || deadline <= now || until.getAsBoolean();
  }

  /** Sets of threads are to have the same order in each run. */
  @Override
  public int hashCode() {
    return number;
  }
}
