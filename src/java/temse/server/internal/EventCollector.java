package temse.server.internal;

import clojure.lang.IPersistentMap;
import temse.protocol.EventType;
import temse.server.ConnectionInfo;

/**
 * A handler that keeps events for later. Where the MTA waits for no reply to them it gets them in
 * passing: without a call that could answer, without {@code :index} of a header field unless
 * somebody observes, and, but for a piece of a body, without looking for how long it takes.
 */
public interface EventCollector {
  /**
   * {@return true if events of this type, of the message that begins, are kept and no more}
   *
   * @param type of the events
   */
  boolean collects(EventType type);

  /**
   * Keeps an event, without calling code of users. What it throws is a failure of the handler: the
   * message is deferred.
   *
   * @param connection the connection, for reports
   * @param type of the event
   * @param event its map
   * @throws Exception if the event cannot be kept
   */
  void collect(ConnectionInfo connection, EventType type, IPersistentMap event) throws Exception;

  /**
   * Keeps a header field, as {@link #collect} does, where nobody needs the map of the event.
   *
   * @param connection the connection, for reports
   * @param name of the field
   * @param value of the field
   * @throws Exception if the field cannot be kept
   */
  void collectField(ConnectionInfo connection, String name, String value) throws Exception;
}
