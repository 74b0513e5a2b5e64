package temse.message;

import clojure.lang.Counted;
import java.io.BufferedInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.util.Arrays;
import java.util.Objects;
import org.jspecify.annotations.Nullable;
import temse.protocol.MilterException;

/**
 * The body of a message, in memory or in a temporary file. It may be read by any thread, any number
 * of times, until the message is over: then its memory and file are given back, and whoever reads
 * it gets an error.
 *
 * <pre>{@code
 * try (InputStream in = message.body().open()) {
 *   scanner.scan(in);
 * }
 * }</pre>
 */
public final class Body implements Counted {
  private static final byte[][] NOTHING = {};

  /** The pieces in memory; none once there is a file. */
  private byte[][] pieces = NOTHING;

  private int used;
  private @Nullable BodyFile file;
  private long size;
  private volatile boolean over;

  /** Makes an empty body, which the collector fills. */
  Body() {}

  // ---- filling it

  void add(byte[] data, int length) throws IOException {
    if (file != null) {
      file.append(data, length);
    } else {
      if (used == pieces.length) {
        pieces = Arrays.copyOf(pieces, Math.max(2, 2 * used));
      }
      pieces[used++] = length == data.length ? data : Arrays.copyOf(data, length);
    }
    size += length;
  }

  boolean isInMemory() {
    return file == null;
  }

  /** Moves what is in memory to a new file, to which more is added. */
  void moveTo(BodyFile target) throws IOException {
    file = target;
    for (int i = 0; i < used; i++) {
      file.append(pieces[i], pieces[i].length);
    }
    pieces = NOTHING;
    used = 0;
  }

  /** The message is over: nobody reads the body any more. */
  void end() throws IOException {
    over = true;
    pieces = NOTHING;
    used = 0;
    if (file != null) {
      file.release();
    }
  }

  // ---- reading it

  /** {@return how many octets it has} */
  public long size() {
    return size;
  }

  /** {@return the size, or the largest int if it is larger: Clojure's {@code count}} */
  @Override
  public int count() {
    return (int) Math.min(size, Integer.MAX_VALUE);
  }

  /**
   * {@return a new stream of the body from its beginning} Reading it after the end of the message
   * throws as this does.
   *
   * @throws MilterException STALE_CONTEXT if the message is over
   */
  public InputStream open() {
    checkLive();
    return new Stream(pieces);
  }

  /**
   * {@return a stream as {@link #open} does, of the body as an MTA shows it to a filter when
   * another one has put it in the place of the message's: each line ends in CR LF}
   *
   * @param mta which of them shows it
   * @throws MilterException STALE_CONTEXT if the message is over
   */
  public InputStream openLines(Mta mta) {
    return new BufferedInputStream(new WireLines(new BufferedInputStream(open()), mta));
  }

  /**
   * {@return all of the body}
   *
   * @throws MilterException STALE_CONTEXT if the message is over; LIMIT_EXCEEDED if it is too large
   *     for an array
   */
  public byte[] bytes() {
    if (size > Integer.MAX_VALUE - 8) {
      throw new MilterException(
          MilterException.Category.LIMIT_EXCEEDED,
          "a body of " + size + " octets does not fit into an array; read it with open()",
          "size",
          size);
    }
    try (InputStream in = open()) {
      byte[] all = new byte[(int) size];
      in.readNBytes(all, 0, all.length);
      return all;
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  private void checkLive() {
    if (over) {
      throw new MilterException(
          MilterException.Category.STALE_CONTEXT,
          "the message is over, its body cannot be read any more; keep its bytes while the message"
              + " lasts");
    }
  }

  @Override
  public String toString() {
    return "body of " + size + " octets";
  }

  private final class Stream extends InputStream {
    private final byte[][] parts;
    private long position;
    private int part;
    private int offset;

    Stream(byte[][] parts) {
      this.parts = parts;
    }

    @Override
    public int read() throws IOException {
      byte[] one = new byte[1];
      return read(one, 0, 1) < 0 ? -1 : one[0] & 0xFF;
    }

    @Override
    public int read(byte[] target, int start, int length) throws IOException {
      Objects.checkFromIndexSize(start, length, target.length);
      checkLive();
      int most = (int) Math.min(length, size - position);
      if (most == 0) {
        return length == 0 ? 0 : -1;
      }
      int count = file == null ? fromMemory(target, start, most) : fromFile(target, start, most);
      position += count;
      return count;
    }

    private int fromMemory(byte[] target, int start, int most) {
      while (offset == parts[part].length) {
        part++;
        offset = 0;
      }
      int count = Math.min(most, parts[part].length - offset);
      System.arraycopy(parts[part], offset, target, start, count);
      offset += count;
      return count;
    }

    private int fromFile(byte[] target, int start, int most) throws IOException {
      try {
        int count = file.read(position, target, start, most);
        if (count < 0) {
          throw new IOException("the temporary file of the body is shorter than the body");
        }
        return count;
      } catch (IOException e) {
        checkLive();
        throw e;
      }
    }

    @Override
    public long skip(long count) {
      long skipped = 0;
      if (file != null) {
        skipped = Math.max(0, Math.min(count, size - position));
        position += skipped;
        return skipped;
      }
      byte[] dropped = new byte[(int) Math.max(0, Math.min(count, 8192))];
      while (skipped < count && position < size) {
        int most = (int) Math.min(Math.min(dropped.length, count - skipped), size - position);
        int read = fromMemory(dropped, 0, most);
        position += read;
        skipped += read;
      }
      return skipped;
    }

    @Override
    public int available() {
      return over ? 0 : (int) Math.min(size - position, Integer.MAX_VALUE);
    }
  }
}
