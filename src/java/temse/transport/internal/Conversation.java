package temse.transport.internal;

import java.nio.ByteBuffer;

/**
 * A protocol conversation over one connection, as whatever carries its bytes sees it: bytes in,
 * bytes out, with the time given from outside.
 *
 * <p>It is called by one thread at a time, not always the same one; each call sees the memory
 * effects of the calls before. It may block only between {@link Link#enter} and {@link Link#leave}.
 * Times are on the {@link System#nanoTime} scale.
 */
public interface Conversation {

  /** What a conversation wants next. */
  enum Wish {
    /** More bytes. The input has been consumed wholly; an incomplete packet was copied aside. */
    READ,
    /**
     * A value that is not there yet. What remains of the input is kept by the link and offered
     * again; nothing is read from the peer until a task given to {@link Link#later} has run and a
     * call has returned {@link #READ}.
     */
    WAIT,
    /**
     * Another thread, because {@link Link#enter} returned false: {@link #receive} is called again,
     * with what remains of the input (possibly nothing), on a thread that may be held up.
     */
    MOVE,
    /**
     * Room for more output, because {@link Link#isCongested} returned true: {@link #receive} is
     * called again, with what remains of the input (possibly nothing), when the peer has taken all
     * that was written.
     */
    DRAIN,
    /** The end: the output is written, then the connection is closed. */
    CLOSE
  }

  /** How a connection ended. */
  enum End {
    /** The peer closed or reset it. */
    PEER_CLOSED,
    /** The conversation returned {@link Wish#CLOSE}. */
    CLOSED_HERE,
    /** An I/O error, or an exception thrown by the conversation. */
    FAILED,
    /** The peer took no byte of an answer for the write timeout. */
    TIMED_OUT,
    /** The server stopped. */
    STOPPED
  }

  /**
   * Serves the bytes in {@code input} as far as possible and appends the answers to {@link
   * Link#output}. Bad input does not throw, it returns {@link Wish#CLOSE}; if this throws all the
   * same, the connection is closed and reported as {@link End#FAILED}.
   *
   * @param input bytes from the peer, possibly none; not to be kept after the call
   * @param now the time
   * @return what is wanted next
   */
  Wish receive(ByteBuffer input, long now);

  /**
   * {@return the time at which {@link #expired} wants to be called, or {@link Long#MAX_VALUE}}
   * Asked after each call.
   */
  long deadline();

  /**
   * Called when the deadline has passed; may append output. After {@link Wish#READ}, input that was
   * kept for {@link Wish#WAIT} is offered to {@link #receive} at once.
   *
   * @param now the time
   * @return what is wanted next
   */
  Wish expired(long now);

  /**
   * {@return true if the bytes served last ended with a packet that gets no answer, so that the
   * kernel would delay its acknowledgement}
   */
  boolean acknowledgeAtOnce();

  /**
   * {@return true if the connection may be closed without breaking anything in progress} Asked when
   * the server stops.
   */
  boolean idle();

  /**
   * Asks to end as soon as the work in progress is over, because the server stops.
   *
   * @return {@link Wish#CLOSE} to end at once, else what is wanted as before
   */
  Wish stopping();

  /**
   * Called at most once, when the peer has closed its sending half while this conversation waits
   * ({@link Wish#WAIT}) and no input is left. The connection then ends when a later call returns
   * {@link Wish#READ}. This and closing are {@link End#PEER_CLOSED}. A reset ends the connection
   * without asking.
   *
   * @param now the time
   * @return {@link Wish#CLOSE} to give up, or what is wanted as before
   */
  default Wish peerClosed(long now) {
    return Wish.WAIT;
  }

  /**
   * {@return the time at which {@link #held} wants to be called while user code holds the
   * connection on a thread that carries no loop, or {@link Long#MAX_VALUE}} Any thread. Asked when
   * a loop leaves its thread to user code, within {@link Link#enter} on another thread, after
   * {@link #held} and every half second: a time set after {@code enter} is seen that much later.
   */
  default long heldDeadline() {
    return Long.MAX_VALUE;
  }

  /**
   * Called while user code still holds the connection, on another thread than the one that runs
   * that code, at the same time. It may call {@link Link#writeNow} and nothing else of the link,
   * and must not block.
   *
   * @param now the time
   */
  default void held(long now) {}

  /**
   * Called on a loop when the connection has waited too long for a thread that user code may block,
   * instead of running that code. May append output.
   *
   * @param now the time
   * @return {@link Wish#CLOSE}, or what is wanted next
   */
  default Wish starved(long now) {
    return Wish.CLOSE;
  }

  /**
   * Called exactly once, when the connection has ended, whatever happened; user code called from
   * here may block.
   *
   * @param how it has ended
   * @param cause the I/O error, limit or exception that ended it, or null
   */
  void ended(End how, Throwable cause);
}
