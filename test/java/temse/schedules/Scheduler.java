package temse.schedules;

import java.util.ArrayList;
import java.util.IdentityHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.locks.LockSupport;
import java.util.function.BooleanSupplier;

/** Runs the threads of a test one at a time, as a strategy decides. */
final class Scheduler {
  /** Nothing that is tested needs as many decisions: some threads wait for each other busily. */
  private static final int MOST_STEPS = 200_000;

  private static final long HUNG_MILLIS = 20_000;

  private final Strategy strategy;
  private final boolean plainFields;
  private final Met met;
  private final Trace trace;
  private final Network network = new Network();
  private final Thread explorer = Thread.currentThread();
  private final List<ScheduledThread> threads = new ArrayList<>();
  private final List<ScheduledThread> ready = new ArrayList<>();
  private final Map<Object, Monitor> monitors = new IdentityHashMap<>();
  private int numbers;
  private int steps;
  private long now = 1_000_000_000;
  private long slack;
  private volatile ScheduledThread running;
  private volatile boolean over;
  private volatile Throwable failure;

  /**
   * @param trace receives what happens, or null
   */
  Scheduler(Strategy strategy, Schedules how, Met met, Trace trace) {
    this.strategy = strategy;
    this.slack = TimeUnit.MILLISECONDS.toNanos(how.slack());
    this.plainFields = how.plainFields();
    this.met = met;
    this.trace = trace;
  }

  /** Returns the scheduler of the calling thread, which must have one. */
  static Scheduler current() {
    return currentThread().scheduler();
  }

  static ScheduledThread currentThread() {
    return (ScheduledThread) Thread.currentThread();
  }

  /** Runs the test and returns why it failed, or null. */
  Throwable run(Runnable test) {
    ScheduledThread first = new ScheduledThread(this, test, "test");
    running = first;
    first.start();
    int seen = -1;
    long since = System.currentTimeMillis();
    while (!over) {
      LockSupport.parkNanos(this, 500_000_000);
      if (seen != steps) {
        seen = steps;
        since = System.currentTimeMillis();
      } else if (!over && System.currentTimeMillis() - since > HUNG_MILLIS) {
        return hung();
      }
    }
    return failure;
  }

  private Throwable hung() {
    Throwable hung = new AssertionError(running + " waits for something that is not woven");
    hung.setStackTrace(running.getStackTrace());
    return hung;
  }

  Met met() {
    return met;
  }

  Network network() {
    return network;
  }

  long now() {
    return now;
  }

  int steps() {
    return steps;
  }

  // What follows is for the thread that is running.

  int newNumber() {
    return numbers++;
  }

  void add(ScheduledThread thread) {
    threads.add(thread);
  }

  Monitor monitor(Object object) {
    return monitors.computeIfAbsent(Objects.requireNonNull(object), o -> new Monitor());
  }

  int pick(int count) {
    return strategy.pick(count);
  }

  /** Lets another thread go on, if so decided. */
  void point(String where) {
    ScheduledThread me = running;
    me.where = where;
    if (me.quiet == 0) {
      reschedule();
    }
  }

  void plainPoint(String where) {
    if (plainFields) {
      point(where);
    }
  }

  /** Waits until the condition holds, or until the time has come. */
  void await(BooleanSupplier condition, long deadline) {
    ScheduledThread me = running;
    if (me.quiet > 0) {
      throw new IllegalStateException("a static initializer must not wait");
    }
    me.until = condition;
    me.deadline = deadline;
    reschedule();
    me.until = null;
  }

  long deadline(long nanos) {
    return nanos > Long.MAX_VALUE - now ? Long.MAX_VALUE : now + nanos;
  }

  void reschedule() {
    ScheduledThread me = running;
    ScheduledThread next = chooseOrFail(me);
    if (next != null && next != me) {
      running = next;
      LockSupport.unpark(next);
    }
    if (!me.done || failure != null) {
      awaitTurn(me);
    }
  }

  void awaitTurn(ScheduledThread me) {
    while (running != me || failure != null) {
      LockSupport.park(this);
    }
  }

  private ScheduledThread chooseOrFail(ScheduledThread me) {
    try {
      return choose(me);
    } catch (RuntimeException problem) {
      return fail(problem);
    }
  }

  /** Returns the thread that goes on, or null if the schedule is over. */
  private ScheduledThread choose(ScheduledThread me) {
    if (me.done) {
      threads.remove(me);
    }
    if (++steps > MOST_STEPS) {
      return fail(new AssertionError("there is no end after " + steps + " steps"));
    }
    while (true) {
      long next = findReady(me);
      if (!ready.isEmpty()) {
        boolean mayPass = next != Long.MAX_VALUE && next - now <= slack;
        if (ready.size() == 1 && !mayPass) {
          return follow(ready.get(0));
        }
        int choice = strategy.choose(ready, ready.get(0) == me, mayPass);
        if (choice < ready.size()) {
          return follow(ready.get(choice));
        }
        slack -= next - now;
      } else if (threads.isEmpty()) {
        return end();
      } else if (next == Long.MAX_VALUE) {
        return fail(deadlock());
      }
      now = next;
    }
  }

  /** Finds the threads that can go on; returns when the next of the others can. */
  private long findReady(ScheduledThread me) {
    ready.clear();
    long next = Long.MAX_VALUE;
    if (!me.done && me.isReady(now)) {
      ready.add(me);
    }
    for (int i = 0; i < threads.size(); i++) {
      ScheduledThread thread = threads.get(i);
      if (!thread.isReady(now)) {
        next = Math.min(next, thread.deadline);
      } else if (thread != me) {
        ready.add(thread);
      }
    }
    return next;
  }

  private ScheduledThread follow(ScheduledThread next) {
    if (trace != null) {
      trace.add(now, next);
    }
    return next;
  }

  private AssertionError deadlock() {
    StringBuilder text = new StringBuilder("all threads wait:");
    for (ScheduledThread thread : threads) {
      text.append("\n  ").append(thread.getName()).append(" at ").append(thread.where);
    }
    return new AssertionError(text.toString());
  }

  private ScheduledThread end() {
    over = true;
    LockSupport.unpark(explorer);
    return null;
  }

  /** The schedule is over; its threads stay where they are. */
  ScheduledThread fail(Throwable problem) {
    failure = problem;
    return end();
  }
}
