package temse.mime;

import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.util.Objects;

/** The content of a part, without its transfer encoding, read from the body of its message. */
public final class ContentStream extends InputStream {
  private static final int PIECE = 8192;

  private final InputStream body;
  private final TransferDecoder decoder;
  private final ByteArrayOutputStream decoded = new ByteArrayOutputStream(PIECE);
  private byte[] ready = new byte[0];
  private int position;
  private long left;

  /**
   * Makes the stream of a part. It reads the body from its beginning, and closes it.
   *
   * @param part as a scanner has found it
   * @param body of the message, from its beginning
   * @throws IOException if the body cannot be read
   */
  public ContentStream(MimePart part, InputStream body) throws IOException {
    this(part.reason() == null ? part.encoding() : "binary", part.contentStart(), part.end(), body);
  }

  /**
   * Makes the stream of what stands between two positions of a body, in a transfer encoding in
   * lower case.
   *
   * @param encoding such as {@code base64}
   * @param start of the first byte, from 0
   * @param end after the last byte
   * @param body from its beginning
   * @throws IOException if the body cannot be read
   */
  public ContentStream(String encoding, long start, long end, InputStream body) throws IOException {
    this.body = body;
    this.decoder = TransferDecoder.of(encoding);
    this.left = end - start;
    body.skipNBytes(start);
  }

  @Override
  public int read() throws IOException {
    return fill() ? ready[position++] & 0xFF : -1;
  }

  @Override
  public int read(byte[] bytes, int offset, int length) throws IOException {
    Objects.checkFromIndexSize(offset, length, bytes.length);
    if (length == 0) {
      return 0;
    }
    if (!fill()) {
      return -1;
    }
    int count = Math.min(length, ready.length - position);
    System.arraycopy(ready, position, bytes, offset, count);
    position += count;
    return count;
  }

  private boolean fill() throws IOException {
    while (position == ready.length && left > 0) {
      byte[] piece = body.readNBytes((int) Math.min(PIECE, left));
      left = piece.length == 0 ? 0 : left - piece.length;
      decoder.decode(piece, 0, piece.length, decoded::write);
      if (left == 0) {
        decoder.finish(decoded::write);
      }
      ready = decoded.toByteArray();
      decoded.reset();
      position = 0;
    }
    return position < ready.length;
  }

  @Override
  public void close() throws IOException {
    body.close();
  }
}
