package temse.server;

import clojure.lang.IPersistentMap;
import java.util.List;
import org.jspecify.annotations.Nullable;
import temse.protocol.EventType;
import temse.protocol.MessageEndReason;
import temse.protocol.MilterException;

/**
 * Receives what happens in a server: for logs, metrics, recordings. Its methods are called in the
 * connection's turn, as its handlers are: one that blocks holds up this connection and no other.
 * What they throw is counted and reported on stderr, and changes no answer.
 */
public interface ServerListener {
  /** A listener that does nothing. */
  ServerListener SILENT = new ServerListener() {};

  /**
   * Returns a listener that reports to this one, then to the other. What one of them throws keeps
   * nothing from the other.
   *
   * <pre>{@code
   * new SystemLoggerListener().and(metrics)
   * }</pre>
   */
  default ServerListener and(ServerListener other) {
    return new Listeners(List.of(this, other));
  }

  /** An MTA has negotiated. */
  default void negotiated(ConnectionInfo connection) {}

  /** A connection is over. The error is null where it ended as connections do. */
  default void closed(ConnectionInfo connection, @Nullable Throwable error) {}

  /**
   * A reply other than continue was given, or a message has ended.
   *
   * @param event what the reply answered; null where no reply ended the message
   * @param reply the reply, or null
   * @param ended how the message ended by it, or null if none has
   */
  default void verdict(
      ConnectionInfo connection,
      @Nullable EventType event,
      @Nullable IPersistentMap reply,
      @Nullable MessageEndReason ended) {}

  /**
   * A connection was closed because the peer broke the protocol or wanted what is not to be had.
   */
  default void violated(ConnectionInfo connection, MilterException error) {}

  /** A handler has failed, or returned a response that could not be sent. */
  default void failed(
      ConnectionInfo connection, EventType type, @Nullable IPersistentMap event, Throwable error) {}

  /** A connection was refused. */
  default void refused(String peer, String why) {}

  /**
   * Something is wrong that concerns no connection: none can be accepted, or handlers still run
   * although the server has stopped.
   */
  default void troubled(String what) {}

  /** Returns true if {@link #exchanged} wants to be called. */
  default boolean wantsExchanges() {
    return false;
  }

  /**
   * An event is settled.
   *
   * @param response what was sent for it, the reply last
   * @param nanos from the handler's start to the settling
   */
  default void exchanged(
      ConnectionInfo connection, IPersistentMap event, List<IPersistentMap> response, long nanos) {}
}
