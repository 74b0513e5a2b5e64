package temse.schedules;

import java.lang.annotation.ElementType;
import java.lang.annotation.Retention;
import java.lang.annotation.RetentionPolicy;
import java.lang.annotation.Target;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.ExtendWith;

/**
 * A test that is run again and again, each time under another schedule of its threads.
 *
 * <p>The method and all it calls in {@code temse.transport} and {@code temse.server} run on threads
 * of which one at a time goes on; which one, is decided before each access to a field that is not
 * final, each use of {@code java.util.concurrent} and each call that may block. Time is virtual: it
 * passes when all threads wait, and a little of it, {@link #slack}, also while some could go on. So
 * a run depends on nothing but its decisions. See {@link WovenMethod} for what is woven in, and
 * {@link Network} for sockets.
 *
 * <p>Two things are not explored: a method of the JDK is one step, and each step is seen by all
 * threads at once, so that races which only the memory model makes visible are not met.
 *
 * <p>A run ends when all threads have ended. It fails if one of them throws, or if those left wait
 * for ever. The failure states the number of the schedule, and what each thread did.
 *
 * <pre>{@code
 * TEMSE_SCHEDULE=4711 bin/test TurnSchedulesTest       # this schedule alone
 * TEMSE_SCHEDULES=1000000 bin/test TurnSchedulesTest   # this number of random ones
 * }</pre>
 */
@Target(ElementType.METHOD)
@Retention(RetentionPolicy.RUNTIME)
@Test
@ExtendWith(Exploration.class)
public @interface Schedules {

  /** The number of random schedules; the same ones each time. */
  int random() default 0;

  /**
   * If not negative: all schedules with at most this number of deviations; see {@link
   * AllSchedules}.
   */
  int deviations() default -1;

  /** What must be {@link Met} by some schedule; else the schedules do not get where they should. */
  String[] meeting() default {};

  /** How many milliseconds may pass altogether while threads could go on. */
  int slack() default 50;

  /**
   * Whether threads are changed before accesses to fields that are not volatile and calls of
   * collections that need not be concurrent. Without, there are far fewer schedules; it is for code
   * that is guarded by monitors.
   */
  boolean plainFields() default true;
}
