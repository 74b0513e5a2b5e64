package temse.transport.internal;

import java.nio.ByteBuffer;

/**
 * The read buffer of a loop. It stays with the loop if it had been consumed when user code began,
 * else with the thread that is reading it. Carrier.
 */
final class LoopBuffer {
  private static final ByteBuffer NONE = ByteBuffer.allocate(0);

  private final ReadBuffers pool;
  private ByteBuffer buffer;
  private ByteBuffer input;
  private boolean inputLeft;

  LoopBuffer(ReadBuffers pool) {
    this.pool = pool;
    use(NONE);
  }

  /** Returns the buffer, empty. */
  ByteBuffer empty() {
    if (buffer == NONE) {
      use(pool.take());
    }
    return buffer.clear();
  }

  /** Returns the first bytes of the buffer for a conversation. */
  ByteBuffer input(int length) {
    return input.limit(length).position(0);
  }

  /** Returns the buffer as the calling thread may have to give it back to the pool. */
  ByteBuffer mine() {
    return buffer;
  }

  /** User code begins; it may still be reading. */
  void lock() {
    inputLeft = input.hasRemaining();
  }

  /** The loop has left the thread that ran user code. */
  void leave() {
    use(inputLeft ? NONE : buffer);
  }

  /** The view that conversations get is never shared by two carriers, even if the bytes are. */
  private void use(ByteBuffer bytes) {
    buffer = bytes;
    input = bytes.duplicate().limit(0);
  }
}
