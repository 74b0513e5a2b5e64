package temse.schedules;

import java.net.ProtocolFamily;
import java.nio.channels.Selector;
import java.nio.channels.ServerSocketChannel;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.function.BooleanSupplier;

/**
 * What woven code calls. The methods are named after those they stand for; an instance method's
 * object is the first argument.
 */
public final class Hooks {
  private static final long FOREVER = Long.MAX_VALUE;

  private Hooks() {}

  /** Comes before each step that other threads may notice. */
  public static void point(String where) {
    Scheduler.current().point(where);
  }

  /** Comes before an access to a field that is neither final nor volatile. */
  public static void plainPoint(String where) {
    Scheduler.current().plainPoint(where);
  }

  public static void quiet() {
    Scheduler.currentThread().quiet++;
  }

  public static void loud() {
    Scheduler.currentThread().quiet--;
  }

  public static void unsupported(String what) {
    throw new UnsupportedOperationException(what + " is not woven: see temse.schedules.Weaver");
  }

  // ---- the life of threads

  public static void begin() {
    Scheduler.currentThread().begin();
  }

  public static void end() {
    Scheduler.currentThread().end();
  }

  public static void died(Throwable problem) {
    Scheduler.currentThread().died(problem);
  }

  public static void join(Thread thread) throws InterruptedException {
    join(thread, 0);
  }

  public static void join(Thread thread, long millis) throws InterruptedException {
    ScheduledThread other = (ScheduledThread) thread;
    awaitInterruptibly(
        () -> other.done, millis == 0 ? FOREVER : TimeUnit.MILLISECONDS.toNanos(millis));
  }

  public static boolean isAlive(Thread thread) {
    return !((ScheduledThread) thread).done;
  }

  public static boolean interrupted() {
    return Scheduler.currentThread().takeInterrupt();
  }

  public static void sleep(long millis) throws InterruptedException {
    sleep(TimeUnit.MILLISECONDS, millis);
  }

  public static void sleep(TimeUnit unit, long time) throws InterruptedException {
    awaitInterruptibly(() -> false, unit.toNanos(time));
  }

  public static void yield() {}

  public static void onSpinWait() {}

  // ---- time

  public static long nanoTime() {
    return Scheduler.current().now();
  }

  public static long currentTimeMillis() {
    return Scheduler.current().now() / 1_000_000;
  }

  // ---- waiting

  /** Waits until the condition holds; returns false if the nanoseconds have passed before. */
  static boolean awaitInterruptibly(BooleanSupplier condition, long nanos)
      throws InterruptedException {
    ScheduledThread me = Scheduler.currentThread();
    Scheduler scheduler = me.scheduler();
    scheduler.await(() -> me.interrupted || condition.getAsBoolean(), scheduler.deadline(nanos));
    if (me.takeInterrupt()) {
      throw new InterruptedException();
    }
    return condition.getAsBoolean();
  }

  public static void park() {
    parkNanos(FOREVER);
  }

  public static void park(Object blocker) {
    parkNanos(FOREVER);
  }

  public static void parkNanos(Object blocker, long nanos) {
    parkNanos(nanos);
  }

  public static void parkNanos(long nanos) {
    ScheduledThread me = Scheduler.currentThread();
    Scheduler scheduler = me.scheduler();
    scheduler.await(() -> me.permitted || me.interrupted, scheduler.deadline(nanos));
    me.permitted = false;
  }

  public static void unpark(Thread thread) {
    if (thread != null) {
      ((ScheduledThread) thread).permitted = true;
    }
  }

  /** Comes before a {@link Future} is asked for its value. */
  public static Future<?> awaitDone(Future<?> future) throws InterruptedException {
    awaitInterruptibly(future::isDone, FOREVER);
    return future;
  }

  // ---- monitors

  public static void enter(Object object) {
    ScheduledThread me = Scheduler.currentThread();
    if (me.quiet == 0) {
      me.scheduler().monitor(object).enter(me);
      me.entered.add(object);
    }
  }

  public static void exit(Object object) {
    ScheduledThread me = Scheduler.currentThread();
    if (me.quiet == 0) {
      me.entered.remove(me.entered.size() - 1);
      me.scheduler().monitor(object).exit();
    }
  }

  /** Ends a synchronized method. */
  public static void exitLast() {
    ScheduledThread me = Scheduler.currentThread();
    if (me.quiet == 0) {
      exit(me.entered.get(me.entered.size() - 1));
    }
  }

  public static void await(Object object) throws InterruptedException {
    awaitNanos(object, FOREVER);
  }

  public static void await(Object object, long millis) throws InterruptedException {
    awaitNanos(object, millis == 0 ? FOREVER : TimeUnit.MILLISECONDS.toNanos(millis));
  }

  public static void timedWait(TimeUnit unit, Object object, long time)
      throws InterruptedException {
    if (time > 0) {
      awaitNanos(object, unit.toNanos(time));
    }
  }

  private static void awaitNanos(Object object, long nanos) throws InterruptedException {
    ScheduledThread me = Scheduler.currentThread();
    me.scheduler().monitor(object).await(me, nanos);
  }

  public static void signal(Object object) {
    ScheduledThread me = Scheduler.currentThread();
    me.scheduler().monitor(object).signal(me);
  }

  public static void signalAll(Object object) {
    ScheduledThread me = Scheduler.currentThread();
    me.scheduler().monitor(object).signalAll(me);
  }

  // ---- sockets

  public static Selector openSelector() {
    return Scheduler.current().network().openSelector();
  }

  public static ServerSocketChannel openServer(ProtocolFamily family) {
    return Scheduler.current().network().openServer();
  }
}
