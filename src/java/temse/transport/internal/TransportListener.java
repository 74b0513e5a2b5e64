package temse.transport.internal;

import java.util.List;

/**
 * Receives what happens to connections, for logs and counters. All methods do nothing by default.
 * They are called on the threads that serve connections: one that blocks holds up the connection
 * that it is called for and no other. What they throw is ignored. Peers are in the notation of
 * {@link Link#peer}.
 */
public interface TransportListener {

  /**
   * Called when a connection has been accepted.
   *
   * @param peer address of the MTA, as {@link Link#peer} has it
   */
  default void opened(String peer) {}

  /**
   * Called when a connection has ended and its conversation has been notified.
   *
   * @param peer address of the MTA, as {@link Link#peer} has it
   * @param how it has ended
   * @param cause the I/O error, limit or exception that ended it, or null
   */
  default void closed(String peer, Conversation.End how, Throwable cause) {}

  /**
   * Called when a connection was accepted and closed at once; possibly by several threads at once.
   *
   * @param peer address of the MTA, as {@link Link#peer} has it
   * @param why a printable line
   */
  default void refused(String peer, String why) {}

  /**
   * Called when something failed that ends no particular connection: accepting, making a
   * conversation, or a conversation's end; possibly by several threads at once.
   *
   * @param problem what was thrown
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
