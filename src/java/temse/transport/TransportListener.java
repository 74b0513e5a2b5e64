package temse.transport;

/**
 * Is told what happens to connections, for logs and counters. All methods do nothing by default.
 * They are called on the threads that serve connections and must not block; what they throw is
 * ignored. Peers are in the notation of {@link Link#peer}.
 */
public interface TransportListener {

  /** A connection has been accepted. */
  default void opened(String peer) {}

  /**
   * A connection is over; its conversation has been told.
   *
   * @param cause the I/O error, limit or exception that ended it, or null
   */
  default void closed(String peer, Conversation.End how, Throwable cause) {}

  /** A connection was accepted and closed at once. */
  default void refused(String peer, String why) {}

  /** Something failed that ends no particular connection: accepting, or a conversation's end. */
  default void failed(Throwable problem) {}
}
