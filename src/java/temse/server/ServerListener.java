package temse.server;

import java.util.List;
import org.jspecify.annotations.Nullable;
import temse.protocol.Action;
import temse.protocol.Event;
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
   * {@return a listener that reports to this one, then to the other} What one of them throws keeps
   * nothing from the other.
   *
   * <pre>{@code
   * new SystemLoggerListener().and(metrics)
   * }</pre>
   *
   * @param other called second
   */
  default ServerListener and(ServerListener other) {
    return new Listeners(List.of(this, other));
  }

  /**
   * Called when an MTA has negotiated.
   *
   * @param connection the connection that is reported
   */
  default void negotiated(ConnectionInfo connection) {}

  /**
   * Called when a connection was no MTA's: a health check, a browser, a scanner. It is over; {@link
   * #closed} is not called for it.
   *
   * @param connection the connection that is reported
   * @param what what has come, in a few words: {@code no byte}, {@code an HTTP request: GET /
   *     HTTP/1.1}, {@code a TLS handshake}; it may hold any character
   */
  default void probed(ConnectionInfo connection, String what) {}

  /**
   * Called when a connection has ended.
   *
   * @param connection the connection that is reported
   * @param error why it was lost; null where it ended as connections do
   */
  default void closed(ConnectionInfo connection, @Nullable Throwable error) {}

  /**
   * Called when a reply other than continue was given, or a message has ended.
   *
   * @param connection the connection that is reported
   * @param event what the reply answered; null where no reply ended the message
   * @param reply the reply, or null
   * @param ended how the message ended by it, or null if none has
   */
  default void verdict(
      ConnectionInfo connection,
      @Nullable EventType event,
      Action.@Nullable Reply reply,
      @Nullable MessageEndReason ended) {}

  /**
   * Called when a connection was closed because the peer broke the protocol, or does not offer what
   * the filter requires.
   *
   * @param connection the connection that is reported
   * @param error says what was wrong
   */
  default void violated(ConnectionInfo connection, MilterException error) {}

  /**
   * Called when a handler has failed, or returned a response that could not be sent.
   *
   * @param connection the connection that is reported
   * @param type of the event
   * @param event the event, or null if it could not be decoded
   * @param error what was thrown
   */
  default void failed(
      ConnectionInfo connection, EventType type, @Nullable Event event, Throwable error) {}

  /**
   * Called when a connection begins a message with the milter that it had, although the server has
   * another one; once for each other one.
   *
   * @param connection with what it lacks
   */
  default void outdated(OutdatedConnection connection) {}

  /**
   * Called when a connection was refused.
   *
   * @param peer address of the MTA, as in {@link ConnectionInfo#peer}
   * @param why a printable line
   */
  default void refused(String peer, String why) {}

  /**
   * Called when something is wrong that concerns no connection: none can be accepted, or handlers
   * still run although the server has stopped.
   *
   * @param what a printable line
   */
  default void troubled(String what) {}

  /** {@return true if {@link #exchanged} wants to be called} */
  default boolean wantsExchanges() {
    return false;
  }

  /**
   * Called when an event is settled.
   *
   * @param connection the connection that is reported
   * @param event what the MTA has sent
   * @param response what was sent for it, the reply last; nothing for the offer of an MTA, which
   *     {@link ConnectionInfo#agreement} answers
   * @param nanos from the handler's start to the settling
   */
  default void exchanged(
      ConnectionInfo connection, Event event, List<Action> response, long nanos) {}
}
