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
   * {@return what is wanted of the MTA}
   *
   * @param connection the connection, as long as the negotiation goes on
   * @param offer the {@code :options} event
   * @throws Exception anything: the connection is closed
   */
  Request request(MilterConnection connection, IPersistentMap offer) throws Exception;

  /**
   * Receives what was agreed.
   *
   * @param agreement what holds for the connection from now on
   */
  default void negotiated(Agreement agreement) {}

  /**
   * Handles an event for which the request named a handler.
   *
   * @param connection the connection, for this event only: it is dead when the event is settled
   * @param type of the event
   * @param event a map as in {@code doc/spec.org}
   * @return the actions that answer it, modifications first and at most one reply last; null or
   *     empty for the default reply
   * @throws Exception anything: {@link #onError} answers the event
   */
  @Nullable List<IPersistentMap> onEvent(
      MilterConnection connection, EventType type, IPersistentMap event) throws Exception;

  /**
   * {@return the actions that answer an event whose handler has failed: a temporary failure, unless
   * overridden} Not asked for events that owe no reply.
   *
   * @param connection the connection, for this event only
   * @param error what the handler has thrown, or what is wrong with its actions
   * @param type of the event
   * @param event a map, or null if it could not be decoded
   */
  default List<IPersistentMap> onError(
      MilterConnection connection,
      Throwable error,
      EventType type,
      @Nullable IPersistentMap event) {
    return List.of(Action.temporaryFailure().map());
  }

  /**
   * Returns the state that it keeps for its client, as the last event has left it: what {@link
   * Exchange#after} shows to who watches. Called in the connection's turn, only while somebody
   * does.
   *
   * @return the state, or null if there is none
   */
  default @Nullable Object state() {
    return null;
  }

  /** {@return the state that the last event has found, as {@link #state} does} */
  default @Nullable Object stateBefore() {
    return null;
  }

  /**
   * Called when a message (MESSAGE_END) or an SMTP client (DISCONNECT) is over, after its event was
   * handled: what belongs to it can be dropped.
   *
   * @param type {@code MESSAGE_END} or {@code DISCONNECT}
   */
  default void scopeEnded(EventType type) {}
}
