package temse.message;

import clojure.lang.IPersistentMap;
import java.io.IOException;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import org.jspecify.annotations.Nullable;
import temse.protocol.Action;
import temse.protocol.EventType;
import temse.protocol.MilterException;
import temse.server.Connection;

/**
 * The collectors of all MTA connections of a filter that is a map of handlers, which keep nothing
 * themselves. Thread-safe; what concerns one connection is for the thread that handles its events.
 */
public final class Collectors {
  private final MessageStore store;
  private final Map<Connection, Collector> byConnection = new ConcurrentHashMap<>();

  /** Makes an empty set of collectors. */
  public Collectors(MessageStore store) {
    this.store = store;
  }

  /** Takes an event: see {@link Collector#take}. */
  public void take(Connection connection, EventType type, IPersistentMap event) throws IOException {
    Collector collector = byConnection.get(connection);
    if (collector == null) {
      collector = store.collector();
      byConnection.put(connection, collector);
    }
    collector.take(connection, type, event);
  }

  /** Returns the reply in the filter's place: see {@link Collector#replyInstead}. */
  public Action.@Nullable Reply replyInstead(Connection connection) {
    return of(connection).replyInstead();
  }

  /** Returns what was collected: see {@link Collector#message}. */
  public Message message(Connection connection, EventType at) {
    return of(connection).message(connection, at);
  }

  private Collector of(Connection connection) {
    Collector collector = byConnection.get(connection);
    if (collector == null) {
      throw new MilterException(
          MilterException.Category.UNEXPECTED_EVENT,
          "the message had begun before this message filter was there: it has not seen all of it");
    }
    return collector;
  }

  /** The message is over. */
  public void messageEnds(Connection connection) throws IOException {
    Collector collector = byConnection.get(connection);
    if (collector != null) {
      collector.end();
    }
  }

  /** The SMTP client is over, and with it any message. */
  public void clientEnds(Connection connection) throws IOException {
    Collector collector = byConnection.remove(connection);
    if (collector != null) {
      collector.end();
    }
  }
}
