package temse.server.internal;

import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicLong;
import java.util.function.Consumer;
import java.util.function.LongSupplier;
import temse.protocol.Printable;

/**
 * Reports on stderr what could not be logged, because logging itself failed: at most one line in
 * ten seconds, written by a thread of its own, so that the caller neither waits nor fails.
 */
public final class LastResort {
  static final long QUIET_NANOS = 10_000_000_000L;
  private static final int LONGEST = 1000;
  private static final LastResort STDERR =
      new LastResort(line -> System.err.println(line), System::nanoTime);

  private final Consumer<String> out;
  private final LongSupplier clock;
  private final AtomicLong quietUntil;
  private final AtomicLong unreported = new AtomicLong();
  private final AtomicBoolean writing = new AtomicBoolean();

  LastResort(Consumer<String> out, LongSupplier clock) {
    this.out = out;
    this.clock = clock;
    this.quietUntil = new AtomicLong(clock.getAsLong());
  }

  /**
   * Reports on stderr that {@code what} has failed, unless another failure was reported in the last
   * ten seconds; the next report says how many were left out. Any thread; never throws.
   *
   * @param what a printable subject, such as {@code logging}
   * @param problem what it has thrown
   */
  public static void report(String what, Throwable problem) {
    STDERR.take(what, problem);
  }

  void take(String what, Throwable problem) {
    try {
      long now = clock.getAsLong();
      long until = quietUntil.get();
      if (now - until >= 0
          && !writing.get()
          && quietUntil.compareAndSet(until, now + QUIET_NANOS)) {
        writing.set(true);
        start(what, problem);
      } else {
        unreported.incrementAndGet();
      }
    } catch (Throwable hopeless) {
      // There is nothing left to report it to.
    }
  }

  private void start(String what, Throwable problem) {
    boolean started = false;
    try {
      Thread writer = new Thread(() -> write(what, problem), "temse-last-resort");
      writer.setDaemon(true);
      writer.start();
      started = true;
    } finally {
      if (!started) {
        writing.set(false);
      }
    }
  }

  private void write(String what, Throwable problem) {
    try {
      long more = unreported.getAndSet(0);
      out.accept(
          "temse: "
              + Printable.of((Object) what, LONGEST)
              + " failed: "
              + Printable.of((Object) problem, LONGEST)
              + (more == 0 ? "" : " (" + more + " failures before it were not reported)"));
    } catch (Throwable hopeless) {
      // There is nothing left to report it to.
    } finally {
      writing.set(false);
    }
  }
}
