package temse.protocol;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.util.ArrayDeque;

/**
 * A growable buffer of bytes to be written; integers are big-endian. Not thread-safe.
 *
 * <p>Bytes are held in pieces of at most 64 KiB, so that a large response needs no more memory than
 * its size. The first piece is kept for reuse; the others are dropped when they are written or
 * {@link #clear cleared}.
 */
public final class Output {
  /** Takes bytes, as many as it likes: a channel. */
  @FunctionalInterface
  public interface Drain {
    /**
     * Takes some of the bytes that remain.
     *
     * @param bytes from position to limit
     * @return how many it took
     * @throws IOException if it can take none any more
     */
    int write(ByteBuffer bytes) throws IOException;
  }

  private static final int HEAP_BASE = 512;
  private static final ByteBuffer NONE = ByteBuffer.allocate(0);

  /** The JDK copies a heap buffer into a direct one of its size, kept per thread: bound it. */
  private static final int PIECE = 64 * 1024;

  private final boolean direct;
  private final ArrayDeque<ByteBuffer> full = new ArrayDeque<>(1);
  private ByteBuffer base = NONE;

  /** What the full pieces hold. */
  private int earlier;

  /** The last piece, and how much of it has been written. */
  private ByteBuffer buffer = NONE;

  private int taken;

  /** Makes an empty output on the heap. */
  public Output() {
    this(false);
  }

  private Output(boolean direct) {
    this.direct = direct;
  }

  /** {@return an output whose first piece is outside the heap, taken at the first use} */
  public static Output direct() {
    return new Output(true);
  }

  /**
   * Appends the lowest byte of the value.
   *
   * @param value of which the lowest byte counts
   * @return this output
   */
  public Output putByte(int value) {
    room(1).put((byte) value);
    return this;
  }

  /**
   * Appends the two lowest bytes of the value, big-endian.
   *
   * @param value of which the two lowest bytes count
   * @return this output
   */
  public Output putShort(int value) {
    room(2).putShort((short) value);
    return this;
  }

  /**
   * Appends the value, big-endian.
   *
   * @param value all of its bytes count
   * @return this output
   */
  public Output putInt(int value) {
    room(4).putInt(value);
    return this;
  }

  /**
   * Appends the bytes.
   *
   * @param bytes copied
   * @return this output
   */
  public Output put(byte[] bytes) {
    return put(bytes, 0, bytes.length);
  }

  /**
   * Appends {@code length} of the bytes, from {@code offset} on.
   *
   * @param bytes copied in part
   * @param offset of the first
   * @param length how many
   * @return this output
   */
  public Output put(byte[] bytes, int offset, int length) {
    int from = offset;
    int left = length;
    while (left > buffer.remaining()) {
      int part = buffer.remaining();
      buffer.put(bytes, from, part);
      from += part;
      left -= part;
      grow(left);
    }
    buffer.put(bytes, from, left);
    return this;
  }

  /**
   * Appends the bytes of the text, and the NUL that ends it on the wire.
   *
   * @param text may hold surrogates that stand for bytes
   * @return this output
   * @throws MilterException BAD_ACTION if it cannot travel: see {@link Text#encode}
   */
  public Output putString(String text) {
    return put(Text.encode(text)).putByte(0);
  }

  /**
   * Replaces what {@link #putInt} appended when {@code size} bytes were held.
   *
   * @param size the number of bytes that were held before it
   * @param value takes the place
   */
  public void setInt(int size, int value) {
    int from = size - earlier;
    if (from >= 0) {
      buffer.putInt(taken + from, value);
      return;
    }
    int before = 0;
    for (ByteBuffer piece : full) {
      if (size - before < piece.remaining()) {
        piece.putInt(piece.position() + size - before, value);
        return;
      }
      before += piece.remaining();
    }
  }

  /** {@return the number of bytes held} */
  public int size() {
    return earlier + buffer.position() - taken;
  }

  /** {@return a copy of the bytes held} */
  public byte[] toByteArray() {
    ByteBuffer bytes = ByteBuffer.allocate(size());
    full.forEach(piece -> bytes.put(piece.duplicate()));
    return bytes.put(last()).array();
  }

  /**
   * Forgets the bytes after the first {@code size}.
   *
   * @param size how many bytes stay
   */
  public void truncate(int size) {
    int excess = size() - size;
    while (excess > buffer.position() - taken) {
      excess -= buffer.position() - taken;
      buffer = full.removeLast();
      earlier -= buffer.remaining();
      taken = buffer.position();
      buffer.position(buffer.limit()).limit(buffer.capacity());
    }
    buffer.position(buffer.position() - excess);
  }

  /** Forgets the bytes held. */
  public void clear() {
    full.clear();
    earlier = 0;
    buffer = base.clear();
    taken = 0;
  }

  /**
   * Moves all bytes of {@code other} to the end of this output.
   *
   * @param other empty afterwards
   */
  public void take(Output other) {
    while (!other.full.isEmpty()) {
      take(other.full.peek(), other.full.peek() == other.base);
      other.earlier -= other.full.remove().remaining();
    }
    take(other.last(), other.buffer == other.base);
    other.clear();
  }

  /** Takes a piece as it is, unless it is the other's for ever or too small to be worth it. */
  private void take(ByteBuffer piece, boolean borrowed) {
    if (borrowed || piece.remaining() < PIECE / 2) {
      byte[] bytes = new byte[piece.remaining()];
      piece.duplicate().get(bytes);
      put(bytes);
    } else {
      int sum = Math.addExact(size(), piece.remaining());
      setAside();
      full.add(piece);
      earlier = sum;
      buffer = NONE;
    }
  }

  /**
   * Writes as much as the drain takes, in one write unless there is much, and forgets it.
   *
   * @param drain called until it takes less than it is given
   * @return true if nothing is left
   * @throws IOException thrown by the drain
   */
  public boolean writeTo(Drain drain) throws IOException {
    while (!full.isEmpty()) {
      ByteBuffer piece = full.peek();
      earlier -= drain.write(piece);
      if (piece.hasRemaining()) {
        return false;
      }
      full.remove();
    }
    return size() == 0 || writeLast(drain);
  }

  private boolean writeLast(Drain drain) throws IOException {
    int end = buffer.position();
    buffer.limit(end).position(taken);
    try {
      drain.write(buffer);
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

  private ByteBuffer last() {
    return buffer.duplicate().flip().position(taken);
  }

  private ByteBuffer room(int length) {
    if (buffer.remaining() < length) {
      grow(length);
    }
    return buffer;
  }

  private void grow(int length) {
    if (base == NONE) {
      base = direct ? ByteBuffer.allocateDirect(PIECE) : ByteBuffer.allocate(HEAP_BASE);
      if (buffer == NONE) {
        buffer = base;
      }
      if (buffer.remaining() >= length) {
        return;
      }
    }
    if (buffer.capacity() < PIECE) {
      long wanted = Math.max(2L * buffer.capacity(), (long) buffer.position() + length);
      buffer = ByteBuffer.allocate((int) Math.min(PIECE, wanted)).put(buffer.flip());
    } else {
      ByteBuffer next = ByteBuffer.allocate(PIECE);
      Math.addExact(size(), length);
      setAside();
      buffer = next;
    }
  }

  /** Counts the last piece among the full ones. */
  private void setAside() {
    if (buffer.position() > taken) {
      full.add(buffer);
      earlier += buffer.position() - taken;
      buffer.flip().position(taken);
    }
    buffer = NONE;
    taken = 0;
  }
}
