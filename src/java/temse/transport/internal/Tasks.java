package temse.transport.internal;

import java.io.IOException;
import java.nio.channels.SelectionKey;
import java.nio.channels.Selector;
import java.util.Queue;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.function.Consumer;

/** What other threads want from a loop; wakes it if it is selecting. */
final class Tasks {

  /** Work for the carrier of a loop. It returns whether the calling thread still is the carrier. */
  @FunctionalInterface
  interface Task {
    boolean run();
  }

  private final Queue<Task> queue = new ConcurrentLinkedQueue<>();
  private final Selector selector;
  private volatile boolean selecting;
  private volatile boolean closed;

  Tasks(Selector selector) {
    this.selector = selector;
  }

  /** Any thread. Once the loop has finished, the task runs in the calling thread. */
  void post(Task task) {
    queue.add(task);
    if (closed) {
      if (queue.remove(task)) {
        task.run();
      }
    } else if (selecting) {
      selector.wakeup();
    }
  }

  Task poll() {
    return queue.poll();
  }

  /**
   * Waits until a key is ready, a task is posted or the time is up.
   *
   * @param millis at most so long; 0 is for ever
   */
  void select(Consumer<SelectionKey> ready, long millis) throws IOException {
    selecting = true;
    if (queue.isEmpty()) {
      selector.select(ready, millis);
    } else {
      selector.selectNow(ready);
    }
    selecting = false;
    Thread.interrupted();
  }

  boolean isEmpty() {
    return queue.isEmpty();
  }

  boolean isClosed() {
    return closed;
  }

  /** The loop has finished; runs what was posted too late. */
  void close() {
    closed = true;
    for (Task task; (task = queue.poll()) != null; ) {
      task.run();
    }
  }
}
