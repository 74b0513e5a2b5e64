package temse.message.internal;

import clojure.lang.IPersistentMap;
import java.io.IOException;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import org.jspecify.annotations.Nullable;
import temse.message.Collector;
import temse.message.Message;
import temse.message.MessageStore;
import temse.protocol.Action;
import temse.protocol.EventType;
import temse.protocol.MilterException;
import temse.server.ConnectionInfo;
import temse.server.MilterConnection;

/**
 * The collectors of all MTA connections of a filter that is a map of handlers, which keep nothing
 * themselves. Thread-safe; what concerns one connection is for the thread that handles its events.
 */
public final class Collectors {
  private final MessageStore store;
  private final Map<ConnectionInfo, Collector> byConnection = new ConcurrentHashMap<>();

  /**
   * Makes an empty set of collectors.
   *
   * @param store shared by all connections
   */
  public Collectors(MessageStore store) {
    this.store = store;
  }

  /**
   * Takes an event: see {@link Collector#take}.
   *
   * @param connection as the event's handler sees it
   * @param type of the event
   * @param event its map
   * @throws IOException if the temporary file fails
   */
  public void take(ConnectionInfo connection, EventType type, IPersistentMap event)
      throws IOException {
    Collector collector = byConnection.get(connection);
    if (collector == null) {
      collector = store.collector();
      byConnection.put(connection, collector);
    }
    collector.take(connection, type, event);
  }

  /**
   * Takes a header field: see {@link Collector#takeField}.
   *
   * @param connection the connection
   * @param name of the field
   * @param value of the field
   * @throws IOException if the temporary file fails
   */
  public void takeField(ConnectionInfo connection, String name, String value) throws IOException {
    of(connection).takeField(connection, name, value);
  }

  /**
   * {@return the reply in the filter's place: see {@link Collector#replyInstead}}
   *
   * @param connection as the event's handler sees it
   */
  public Action.@Nullable Reply replyInstead(MilterConnection connection) {
    return of(connection).replyInstead();
  }

  /**
   * {@return what was collected: see {@link Collector#message}}
   *
   * @param connection as the event's handler sees it
   * @param at the event that is being handled
   */
  public Message message(MilterConnection connection, EventType at) {
    return of(connection).message(connection, at);
  }

  private Collector of(ConnectionInfo connection) {
    Collector collector = byConnection.get(connection);
    if (collector == null) {
      throw new MilterException(
          MilterException.Category.UNEXPECTED_EVENT,
          "the message had begun before this message filter was there: it has not seen all of it");
    }
    return collector;
  }

  /**
   * Called when a message has ended.
   *
   * @param connection as the event's handler sees it
   * @throws IOException if the temporary file fails
   */
  public void messageEnds(MilterConnection connection) throws IOException {
    Collector collector = byConnection.get(connection);
    if (collector != null) {
      collector.end();
    }
  }

  /**
   * Called when an SMTP client has ended, and with it any message.
   *
   * @param connection as the event's handler sees it
   * @throws IOException if the temporary file fails
   */
  public void clientEnds(MilterConnection connection) throws IOException {
    Collector collector = byConnection.remove(connection);
    if (collector != null) {
      collector.end();
    }
  }
}
