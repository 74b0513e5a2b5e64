package temse.transport.internal;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertSame;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.nio.channels.Selector;
import java.util.concurrent.atomic.AtomicInteger;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

@Timeout(60)
class TasksTest {

  @Test
  void doesNotSleepOnATaskThatWasPostedBefore() throws Exception {
    try (Selector selector = Selector.open()) {
      Tasks tasks = new Tasks(selector);
      Tasks.Task task = () -> true;
      tasks.post(task);
      tasks.select(key -> {}, 0);
      assertSame(task, tasks.poll());
      assertNull(tasks.poll());
    }
  }

  @Test
  void wakesUpForATaskOfAnotherThread() throws Exception {
    try (Selector selector = Selector.open()) {
      Tasks tasks = new Tasks(selector);
      for (int i = 0; i < 1000; i++) {
        Thread poster = new Thread(() -> tasks.post(() -> true));
        poster.start();
        while (tasks.isEmpty()) {
          tasks.select(key -> {}, 0);
        }
        tasks.poll();
        poster.join();
      }
    }
  }

  @Test
  void runsEveryTaskOnceThoughItIsClosedMeanwhile() throws Exception {
    for (int i = 0; i < 300; i++) {
      AtomicInteger runs = new AtomicInteger();
      try (Selector selector = Selector.open()) {
        Tasks tasks = new Tasks(selector);
        Thread poster =
            new Thread(
                () -> {
                  for (int j = 0; j < 50; j++) {
                    tasks.post(() -> runs.incrementAndGet() > 0);
                  }
                });
        poster.start();
        tasks.close();
        poster.join();
        assertTrue(tasks.isClosed());
      }
      assertEquals(50, runs.get());
    }
  }
}
