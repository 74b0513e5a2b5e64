package temse.protocol;

import java.io.InputStream;

/** The bytes of a text, encoded in slices; a surrogate pair is never cut. */
final class TextStream extends InputStream {
  private static final int SLICE = 16 * 1024;

  private final String text;
  private int position;
  private byte[] slice = {};
  private int taken;

  TextStream(String text) {
    this.text = text;
  }

  @Override
  public int read() {
    return refill() ? slice[taken++] & 0xFF : -1;
  }

  @Override
  public int read(byte[] target, int offset, int length) {
    if (length == 0) {
      return 0;
    }
    if (!refill()) {
      return -1;
    }
    int copied = Math.min(length, slice.length - taken);
    System.arraycopy(slice, taken, target, offset, copied);
    taken += copied;
    return copied;
  }

  private boolean refill() {
    if (taken == slice.length && position < text.length()) {
      int end = Math.min(position + SLICE, text.length());
      if (end < text.length()
          && Character.isHighSurrogate(text.charAt(end - 1))
          && Character.isLowSurrogate(text.charAt(end))) {
        end--;
      }
      slice = Text.encodeBytes(text.substring(position, end));
      taken = 0;
      position = end;
    }
    return taken < slice.length;
  }
}
