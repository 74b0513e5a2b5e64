package temse.transport.internal;

import java.nio.ByteBuffer;

/**
 * What the peer has sent and the conversation has not consumed yet: what a call left over, and
 * behind it what came early, while the conversation waited. For the thread that serves the
 * connection.
 */
final class Inlet {
  static final ByteBuffer NOTHING = ByteBuffer.allocate(0);
  private static final int FIRST = 1024;

  /** How many bytes that came early are kept at most. */
  static final int MOST_EARLY = 64 * 1024;

  private ByteBuffer rest = NOTHING;
  private ByteBuffer early = NOTHING;
  private int earlyInRest;
  private boolean ended;
  private boolean reported;

  /** Keeps what a call has left over. */
  void keep(ByteBuffer bytes) {
    rest =
        !bytes.hasRemaining()
            ? NOTHING
            : bytes.isDirect()
                ? ByteBuffer.allocate(bytes.remaining()).put(bytes).flip()
                : bytes.slice();
    earlyInRest = Math.min(earlyInRest, rest.remaining());
  }

  /** {@return all that is kept, which is not kept any more} */
  ByteBuffer take() {
    ByteBuffer taken = rest;
    int length = early.position();
    if (length > 0) {
      taken = ByteBuffer.allocate(rest.remaining() + length).put(rest).put(early.flip()).flip();
      earlyInRest += length;
      early = NOTHING;
    }
    rest = NOTHING;
    return taken;
  }

  void clear() {
    rest = NOTHING;
    early = NOTHING;
    earlyInRest = 0;
  }

  /** Keeps what came early: at most {@link #room} bytes. */
  void keepEarly(ByteBuffer bytes) {
    int length = early.position() + bytes.remaining();
    if (length > early.capacity()) {
      int capacity = Math.max(FIRST, Math.max(length, 2 * early.capacity()));
      early = ByteBuffer.allocate(Math.min(MOST_EARLY, capacity)).put(early.flip());
    }
    early.put(bytes);
  }

  /** {@return how many more bytes may come early} */
  int room() {
    return MOST_EARLY - early.position() - earlyInRest;
  }

  /** The peer will send nothing any more. */
  void end() {
    ended = true;
  }

  boolean hasEnded() {
    return ended;
  }

  /** {@return true the first time that all is consumed and the peer has ended} */
  boolean reportsEnd() {
    if (!ended || reported || rest.hasRemaining() || early.position() > 0) {
      return false;
    }
    reported = true;
    return true;
  }
}
