package temse.transport.internal;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.nio.channels.Selector;
import java.util.concurrent.atomic.AtomicInteger;
import temse.schedules.Met;
import temse.schedules.Schedules;

/** Tasks for a loop that is selecting, going round or finishing, under all schedules. */
class TasksSchedulesTest {
  private final AtomicInteger ran = new AtomicInteger();

  private boolean count() {
    ran.incrementAndGet();
    return true;
  }

  private static void runAll(Tasks tasks) {
    for (Tasks.Task task; (task = tasks.poll()) != null; ) {
      task.run();
    }
  }

  /** A lost wake-up would leave the loop selecting for ever. */
  @Schedules(deviations = 3)
  void theLoopWakesForEveryTask() throws Exception {
    Tasks tasks = new Tasks(Selector.open());
    Thread first = new Thread(() -> tasks.post(this::count));
    Thread second = new Thread(() -> tasks.post(this::count));
    first.start();
    second.start();
    while (ran.get() < 2) {
      tasks.select(key -> {}, 0);
      runAll(tasks);
    }
    first.join();
    second.join();
    assertTrue(tasks.isEmpty());
  }

  @Schedules(
      deviations = 4,
      meeting = {"0 before", "1 before", "2 before"})
  void everyTaskRunsOnceThoughTheLoopFinishes() throws Exception {
    Selector selector = Selector.open();
    Tasks tasks = new Tasks(selector);
    Thread poster =
        new Thread(
            () -> {
              tasks.post(this::count);
              tasks.post(this::count);
            });
    poster.start();
    runAll(tasks);
    Met.met(ran.get() + " before");
    selector.close();
    tasks.close();
    poster.join();
    assertEquals(2, ran.get());
  }

  @Schedules(deviations = 2)
  void everyTaskOfTwoThreadsRunsOnceThoughTheLoopFinishes() throws IOException {
    Selector selector = Selector.open();
    Tasks tasks = new Tasks(selector);
    Thread[] posters = new Thread[2];
    for (int i = 0; i < posters.length; i++) {
      posters[i] = new Thread(() -> tasks.post(this::count));
      posters[i].start();
    }
    tasks.select(key -> {}, 1);
    runAll(tasks);
    selector.close();
    tasks.close();
    for (Thread poster : posters) {
      join(poster);
    }
    assertEquals(2, ran.get());
  }

  private static void join(Thread thread) {
    try {
      thread.join();
    } catch (InterruptedException e) {
      throw new IllegalStateException(e);
    }
  }
}
