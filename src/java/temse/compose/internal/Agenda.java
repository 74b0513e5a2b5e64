package temse.compose.internal;

import clojure.lang.IPersistentMap;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.util.ArrayDeque;
import java.util.Deque;
import java.util.List;
import java.util.function.Supplier;
import org.jspecify.annotations.Nullable;
import temse.protocol.EventType;
import temse.server.MilterConnection;
import temse.server.internal.Served;

/**
 * What is to be done for one event of the MTA, one thing after the other; it waits where a filter
 * waits for a value.
 */
final class Agenda {
  private final Deque<Task> tasks = new ArrayDeque<>();
  private boolean decided;

  /** What is done last, however the event ends; null once it has been done. */
  private @Nullable Last last;

  /** The filter that waits for a value, or null, and what to do when it has answered. */
  private @Nullable Part waiting;

  private @Nullable Task afterwards;

  /** What is done last. */
  @FunctionalInterface
  interface Last {
    void run() throws IOException;
  }

  void begin(List<Task> first, Last then) {
    tasks.clear();
    tasks.addAll(first);
    last = then;
    decided = false;
    waiting = null;
    afterwards = null;
  }

  /** The event is decided, whatever was still to be done for it. */
  void decide() {
    decided = true;
    tasks.clear();
  }

  /** Sends a filter an event; then, when it has answered, there is something to do. */
  List<Task> send(
      Part part, MilterConnection connection, EventType type, IPersistentMap event, Task then)
      throws IOException {
    part.receives(type);
    return proceed(part.member.send(connection, type, event), part, connection, then);
  }

  private List<Task> proceed(boolean answered, Part part, MilterConnection connection, Task then)
      throws IOException {
    if (answered) {
      return then.run(connection);
    }
    waiting = part;
    afterwards = then;
    return List.of();
  }

  /**
   * Goes on until nothing is left to be done, and returns the answer; or until a filter waits for a
   * value, and returns null.
   */
  @Nullable List<IPersistentMap> goOn(
      MilterConnection connection, Supplier<@Nullable List<IPersistentMap>> answer)
      throws IOException {
    boolean waits = false;
    try {
      while (waiting == null && !tasks.isEmpty()) {
        put(tasks.removeFirst().run(connection));
      }
      if (waiting == null) {
        return answer.get();
      }
      waiting.member.await(connection, woken -> wake(connection, answer), () -> giveUp(connection));
      waits = true;
      return null;
    } finally {
      if (!waits) {
        finish();
      }
    }
  }

  private void finish() throws IOException {
    Last then = last;
    last = null;
    if (then != null) {
      then.run();
    }
  }

  private void put(List<Task> next) {
    if (!decided) {
      for (int i = next.size() - 1; i >= 0; i--) {
        tasks.addFirst(next.get(i));
      }
    }
  }

  private @Nullable List<IPersistentMap> wake(
      MilterConnection connection, Supplier<@Nullable List<IPersistentMap>> answer) {
    Part part = waiting;
    Task then = afterwards;
    waiting = null;
    tasks.addFirst(c -> proceed(part.member.serve(), part, c, then));
    try {
      return goOn(connection, answer);
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  /**
   * Nobody waits for the event any more. Where that is because the connection has ended, so will
   * that of the filter, and its value with it; otherwise the value is late.
   */
  private void giveUp(MilterConnection connection) {
    Part part = waiting;
    waiting = null;
    tasks.clear();
    try {
      try {
        if (part != null && !Served.isEnding(connection)) {
          part.member.giveUp();
        }
      } finally {
        finish();
      }
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }
}
