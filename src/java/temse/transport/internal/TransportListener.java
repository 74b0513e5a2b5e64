package temse.transport.internal;

import java.util.List;

/**
 * Receives what happens to connections, for logs and counters. All methods do nothing by default.
 * They are called on the threads that serve connections: one that blocks holds up the connection
 * that it is called for and no other. What they throw is ignored. Peers are in the notation of
 * {@link Link#peer}.
 */
public interface TransportListener {

  /** A connection has been accepted. */
  default void opened(String peer) {}

  /**
   * A connection is over; its conversation has been notified.
   *
   * @param cause the I/O error, limit or exception that ended it, or null
   */
  default void closed(String peer, Conversation.End how, Throwable cause) {}

  /** A connection was accepted and closed at once. May be called by several threads at once. */
  default void refused(String peer, String why) {}

  /**
   * Something failed that ends no particular connection: accepting, making a conversation, or a
   * conversation's end. May be called by several threads at once.
   */
  default void failed(Throwable problem) {}

  /**
   * The server has stopped, but user code goes on in spite of the interrupt. The sockets are
   * closed. Reported as {@link #failed} by default.
   *
   * @param threads the names of the threads that were left to it
   */
  default void leftBehind(List<String> threads) {
    failed(
        new IllegalStateException("the stop left threads behind: " + String.join(", ", threads)));
  }
}
