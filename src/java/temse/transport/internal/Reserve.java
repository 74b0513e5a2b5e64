package temse.transport.internal;

/**
 * Memory for cleaning up when there is none: given away then, and taken again when there is enough.
 * Any thread.
 */
final class Reserve {
  private static final int SIZE = 256 * 1024;

  private volatile byte[] memory = new byte[SIZE];

  void release() {
    memory = null;
  }

  /** Takes the memory again, if it can be had. */
  void refill() {
    if (memory == null) {
      try {
        memory = new byte[SIZE];
      } catch (OutOfMemoryError notYet) {
        // Next time.
      }
    }
  }
}
