package temse.transport.internal;

import temse.protocol.Output;

/**
 * What a {@link Conversation} may ask of whatever carries its bytes. Unless a method says
 * otherwise, it is for the thread that is calling the conversation.
 */
public interface Link {

  /**
   * {@return where answers are appended} They are written to the peer in one write when the call of
   * the conversation returns. Ask for it in each call: it belongs to the calling thread.
   */
  Output output();

  /**
   * Writes now what {@link #output} holds, without waiting for the call to return and without
   * blocking for a slow peer.
   */
  void flush();

  /**
   * {@return true if the peer has not taken all that was written, or can take no more: further
   * output would be kept in memory, or dropped} The conversation returns {@link
   * Conversation.Wish#DRAIN} then.
   */
  default boolean isCongested() {
    return false;
  }

  /**
   * {@return true if the connection has failed, so that nothing can be sent any more} It ends as
   * soon as the call of the conversation returns. Any thread.
   */
  default boolean isBroken() {
    return false;
  }

  /**
   * Any thread: writes whole packets behind what was flushed before, at once and without blocking.
   * What {@link #output} holds is not written. Does nothing once the connection has ended.
   *
   * @param packets whole ones
   */
  default void writeNow(byte[] packets) {}

  /**
   * Called right before user code runs on this thread. Never returns false within {@link
   * Conversation#ended}.
   *
   * @param kind distinguishes sorts of user code, 0 to 63: what is learned about one that blocks is
   *     applied to its kind
   * @return false if it must not run here: the conversation then returns {@link
   *     Conversation.Wish#MOVE}
   */
  boolean enter(int kind);

  /** To be called right after the user code announced by {@link #enter} has returned or thrown. */
  void leave();

  /**
   * Any thread: has {@code task} run soon in the conversation's turn, never concurrently with
   * another call; then {@link Conversation#receive} is called with what remained of the input.
   * Ignored once the connection has ended.
   *
   * @param task does not block
   */
  void later(Runnable task);

  /**
   * {@return the peer's address in the MTA's notation, for logs: {@code inet:40112@127.0.0.1},
   * {@code inet6:40112@[::1]}, or {@code unix:} with the path if there is one} Any thread.
   */
  String peer();
}
