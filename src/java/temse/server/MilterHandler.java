package temse.server;

import clojure.lang.IPersistentMap;
import java.util.List;
import org.jspecify.annotations.Nullable;
import temse.protocol.Action;
import temse.protocol.Agreement;
import temse.protocol.EventType;
import temse.protocol.Request;

/** What decides about the mail of one MTA connection. */
public interface MilterHandler {
  /**
   * Returns what is wanted of the MTA.
   *
   * @param connection the connection, as long as the negotiation goes on
   * @param offer the {@code :options} event
   */
  Request request(Connection connection, IPersistentMap offer) throws Exception;

  /** Receives what was agreed. */
  default void negotiated(Agreement agreement) {}

  /**
   * Handles an event for which the request named a handler.
   *
   * @param connection the connection, for this event only: it is dead when the event is settled
   * @return the actions that answer it, modifications first and at most one reply last; null or
   *     empty for the default reply
   */
  @Nullable List<IPersistentMap> onEvent(
      Connection connection, EventType type, IPersistentMap event) throws Exception;

  /**
   * Returns the actions that answer an event whose handler has failed: a temporary failure, unless
   * overridden. Not asked for events that owe no reply.
   */
  default List<IPersistentMap> onError(
      Connection connection, Throwable error, EventType type, @Nullable IPersistentMap event) {
    return List.of(Action.temporaryFailure().map());
  }

  /**
   * Called when a message (MESSAGE_END) or an SMTP client (DISCONNECT) is over, after its event was
   * handled: what belongs to it can be dropped.
   */
  default void scopeEnded(EventType type) {}
}
