package temse.transport;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.channels.WritableByteChannel;

/**
 * A growable buffer of bytes to be written; integers are big-endian. Not thread-safe.
 *
 * <p>It holds on to a base buffer of moderate size; a larger one, taken for a large response, is
 * dropped by {@link #clear}.
 */
public final class Output {
  private static final int HEAP_BASE = 512;
  private static final int DIRECT_BASE = 64 * 1024;
  private static final ByteBuffer NONE = ByteBuffer.allocate(0);

  /** The JDK copies a heap buffer into a direct one of that size, kept per thread: bound it. */
  private static final int LARGEST_WRITE = 64 * 1024;

  private final boolean direct;
  private ByteBuffer base = NONE;
  private ByteBuffer buffer = NONE;
  private int taken;

  /** Makes an empty output on the heap. */
  public Output() {
    this(false);
  }

  private Output(boolean direct) {
    this.direct = direct;
  }

  /** Makes an output whose base is outside the heap, taken at the first use. */
  static Output direct() {
    return new Output(true);
  }

  /** Appends the lowest byte of the value. */
  public Output putByte(int value) {
    room(1).put((byte) value);
    return this;
  }

  /** Appends the two lowest bytes of the value, big-endian. */
  public Output putShort(int value) {
    room(2).putShort((short) value);
    return this;
  }

  /** Appends the value, big-endian. */
  public Output putInt(int value) {
    room(4).putInt(value);
    return this;
  }

  /** Appends the bytes. */
  public Output put(byte[] bytes) {
    return put(bytes, 0, bytes.length);
  }

  /** Appends {@code length} of the bytes, from {@code offset} on. */
  public Output put(byte[] bytes, int offset, int length) {
    room(length).put(bytes, offset, length);
    return this;
  }

  /** Returns the number of bytes held. */
  public int size() {
    return buffer.position() - taken;
  }

  /** Returns a copy of the bytes held. */
  public byte[] toByteArray() {
    byte[] bytes = new byte[size()];
    buffer.get(taken, bytes);
    return bytes;
  }

  /** Forgets the bytes after the first {@code size}. */
  public void truncate(int size) {
    buffer.position(taken + size);
  }

  /** Forgets the bytes held. */
  public void clear() {
    buffer = base.clear();
    taken = 0;
  }

  /** Moves all bytes of {@code other} to the end of this output. */
  void take(Output other) {
    int size = other.size();
    room(size).put(other.buffer.slice(other.taken, size));
    other.clear();
  }

  /**
   * Writes as much as the channel takes, in one write unless there is much, and forgets it.
   *
   * @return true if nothing is left
   */
  boolean writeTo(WritableByteChannel channel) throws IOException {
    int end = buffer.position();
    buffer.position(taken);
    try {
      int wanted;
      do {
        wanted = Math.min(end - buffer.position(), LARGEST_WRITE);
        buffer.limit(buffer.position() + wanted);
      } while (channel.write(buffer) == wanted && buffer.position() < end);
    } finally {
      taken = buffer.position();
      buffer.limit(buffer.capacity()).position(end);
    }
    if (taken < end) {
      return false;
    }
    clear();
    return true;
  }

  private ByteBuffer room(int length) {
    if (buffer.remaining() < length) {
      grow(length);
    }
    return buffer;
  }

  private void grow(int length) {
    if (base == NONE) {
      base = direct ? ByteBuffer.allocateDirect(DIRECT_BASE) : ByteBuffer.allocate(HEAP_BASE);
      buffer = base;
    }
    int needed = Math.addExact(buffer.position(), length);
    if (needed > buffer.capacity()) {
      int capacity = Math.max(needed, 2 * buffer.capacity());
      buffer = ByteBuffer.allocate(capacity).put(buffer.flip());
    }
  }
}
