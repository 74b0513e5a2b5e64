package temse.schedules;

import java.lang.reflect.Constructor;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Method;
import java.util.function.Supplier;
import org.junit.jupiter.api.extension.ExtensionContext;
import org.junit.jupiter.api.extension.InvocationInterceptor;
import org.junit.jupiter.api.extension.ReflectiveInvocationContext;

/** Runs a test method under the schedules that its {@link Schedules} ask for. */
public final class Exploration implements InvocationInterceptor {
  private static final Weaver WEAVER = new Weaver(Exploration.class.getClassLoader());

  /** More than this is no bound that anybody waits for. */
  private static final int MOST = 200_000;

  @Override
  public void interceptTestMethod(
      Invocation<Void> invocation,
      ReflectiveInvocationContext<Method> context,
      ExtensionContext extension) {
    invocation.skip();
    Method method = context.getExecutable();
    long start = System.nanoTime();
    int explored = new Exploration(method).explore();
    if (System.getenv("TEMSE_COUNT_SCHEDULES") != null) {
      long millis = (System.nanoTime() - start) / 1_000_000;
      System.out.println(method.getName() + ": " + explored + " schedules, " + millis + " ms");
    }
  }

  private final Runnable test;
  private final Schedules how;
  private final Met met = new Met();

  /** For JUnit. */
  public Exploration() {
    test = null;
    how = null;
  }

  Exploration(Method method) {
    how = method.getAnnotation(Schedules.class);
    test = woven(method);
  }

  private static Runnable woven(Method method) {
    Constructor<?> constructor;
    Method twin;
    try {
      Class<?> type = Class.forName(method.getDeclaringClass().getName(), false, WEAVER);
      constructor = type.getDeclaredConstructor();
      twin = type.getDeclaredMethod(method.getName());
    } catch (ReflectiveOperationException e) {
      throw new IllegalArgumentException(e);
    }
    constructor.setAccessible(true);
    twin.setAccessible(true);
    return () -> {
      try {
        twin.invoke(constructor.newInstance());
      } catch (InvocationTargetException e) {
        throw sneaky(e.getCause());
      } catch (ReflectiveOperationException e) {
        throw new IllegalStateException(e);
      }
    };
  }

  @SuppressWarnings("unchecked")
  private static <T extends Throwable> RuntimeException sneaky(Throwable problem) throws T {
    throw (T) problem;
  }

  /**
   * Runs the test under one schedule after the other.
   *
   * @return how many there were
   * @throws AssertionError that states the schedule, if the test fails under it
   */
  int explore() {
    int wanted = number("TEMSE_SCHEDULE", 0);
    int explored = how.deviations() >= 0 ? exploreAll(wanted) : exploreSome(wanted);
    if (wanted == 0) {
      met.check(how.meeting());
    }
    return explored;
  }

  private static int number(String variable, int otherwise) {
    String text = System.getenv(variable);
    return text == null ? otherwise : Integer.parseInt(text);
  }

  private int exploreSome(int wanted) {
    int first = wanted == 0 ? 1 : wanted;
    int last = wanted == 0 ? number("TEMSE_SCHEDULES", how.random()) : wanted;
    for (int i = first; i <= last; i++) {
      int seed = i;
      check(i, () -> new RandomStrategy(seed));
    }
    return last - first + 1;
  }

  private int exploreAll(int wanted) {
    AllSchedules all = new AllSchedules(how.deviations());
    int i = 0;
    do {
      if (++i > MOST) {
        throw new AssertionError("there are more than " + MOST + " schedules");
      }
      if (wanted == 0 || i == wanted) {
        check(
            i,
            () -> {
              all.rewind();
              return all;
            });
      } else {
        all.rewind();
        scheduler(all, null).run(test);
      }
    } while (i != wanted && all.next());
    return i;
  }

  private Scheduler scheduler(Strategy strategy, Trace trace) {
    return new Scheduler(strategy, how, met, trace);
  }

  private void check(int number, Supplier<Strategy> strategy) {
    Throwable failure = scheduler(strategy.get(), null).run(test);
    if (failure == null) {
      return;
    }
    Trace trace = new Trace();
    Scheduler again = scheduler(strategy.get(), trace);
    Throwable same = again.run(test);
    String twice =
        same == null
            ? "\nOnce more it passes: it depends on something else than the schedule."
            : "";
    throw new AssertionError(
        ("schedule " + number + " (TEMSE_SCHEDULE=" + number + "): " + failure.getMessage())
            + (twice + "\n" + trace.text(again.now())),
        failure);
  }
}
