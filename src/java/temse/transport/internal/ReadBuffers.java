package temse.transport.internal;

import java.nio.ByteBuffer;
import java.util.ArrayDeque;
import java.util.Queue;

/** A few read buffers for loops that had to leave theirs behind. Any thread. */
final class ReadBuffers {
  /** Body chunks of 64 KiB must arrive in one read, several of them if they are sent together. */
  private static final int SIZE = 256 * 1024;

  private final Queue<ByteBuffer> kept = new ArrayDeque<>();
  private final int limit;

  ReadBuffers(int limit) {
    this.limit = limit;
  }

  ByteBuffer take() {
    synchronized (this) {
      if (!kept.isEmpty()) {
        return kept.remove();
      }
    }
    return ByteBuffer.allocateDirect(SIZE);
  }

  synchronized void give(ByteBuffer buffer) {
    if (kept.size() < limit) {
      kept.add(buffer);
    }
  }

  synchronized void clear() {
    kept.clear();
  }
}
