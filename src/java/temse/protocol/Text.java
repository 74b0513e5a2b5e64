package temse.protocol;

import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.Locale;

/**
 * Lossless text: UTF-8 where bytes are valid UTF-8, and the lone surrogate U+DC00+byte for every
 * other byte, so that any byte string makes the round trip.
 *
 * <p>The method is known from Python as {@code surrogateescape} (PEP 383). The JDK decodes what is
 * UTF-8 throughout; the rest is decoded here.
 */
public final class Text {
  /** What a text of a packet must not hold, in words. */
  static final String NUL = "a NUL, a control character that ends strings on the wire";

  private static final int ESCAPE = 0xDC00;

  /** What the JDK puts in the place of bytes that are no UTF-8. */
  private static final char REPLACEMENT = 0xFFFD;

  private Text() {}

  /**
   * {@return the text of all bytes}
   *
   * @param bytes in UTF-8, or not
   */
  public static String decode(byte[] bytes) {
    return decode(bytes, 0, bytes.length);
  }

  /**
   * {@return the text of the bytes from {@code from} to before {@code to}}
   *
   * @param bytes in UTF-8, or not
   * @param from index of the first
   * @param to index after the last
   */
  public static String decode(byte[] bytes, int from, int to) {
    String text = new String(bytes, from, to - from, StandardCharsets.UTF_8);
    return text.indexOf(REPLACEMENT) < 0 ? text : decodeSlowly(bytes, from, to);
  }

  /**
   * {@return the bytes of the text}
   *
   * @param text as {@link #decode} makes them
   * @throws MilterException BAD_ACTION if it holds NUL, or a lone surrogate that stands for no byte
   */
  public static byte[] encode(String text) {
    byte[] bytes = encodeBytes(text);
    for (byte b : bytes) {
      if (b == 0) {
        throw new MilterException(MilterException.Category.BAD_ACTION, "text holds " + NUL);
      }
    }
    return bytes;
  }

  /**
   * {@return the bytes of the text, in which NUL is a character like any other}
   *
   * @param text as {@link #decode} makes them
   */
  public static byte[] encodeBytes(String text) {
    for (int i = 0; i < text.length(); i++) {
      if (text.charAt(i) >= 0x80) {
        return encodeSlowly(text);
      }
    }
    return text.getBytes(StandardCharsets.ISO_8859_1);
  }

  /** {@return what keeps the text from having bytes, in words, or null} */
  static String problem(String text) {
    for (int i = 0; i < text.length(); i++) {
      char c = text.charAt(i);
      if (Character.isHighSurrogate(c)
          && i + 1 < text.length()
          && Character.isLowSurrogate(text.charAt(i + 1))) {
        i++;
      } else if (Character.isSurrogate(c) && !isEscape(c)) {
        return loneSurrogate(c);
      }
    }
    return null;
  }

  private static boolean isEscape(int c) {
    return c >= ESCAPE + 0x80 && c <= ESCAPE + 0xFF;
  }

  private static String loneSurrogate(int c) {
    return String.format(Locale.ROOT, "the lone surrogate U+%04X, which stands for no byte", c);
  }

  private static String decodeSlowly(byte[] bytes, int from, int to) {
    StringBuilder text = new StringBuilder(to - from);
    int i = from;
    while (i < to) {
      int length = sequenceLength(bytes, i, to);
      if (length == 0) {
        text.append((char) (ESCAPE + (bytes[i] & 0xFF)));
        i++;
      } else if (length == 1) {
        text.append((char) bytes[i]);
        i++;
      } else {
        text.appendCodePoint(codePoint(bytes, i, length));
        i += length;
      }
    }
    return text.toString();
  }

  /** {@return the length of the valid UTF-8 sequence that begins at i, or 0 if none does} */
  private static int sequenceLength(byte[] bytes, int i, int to) {
    int first = bytes[i] & 0xFF;
    if (first < 0x80) {
      return 1;
    }
    int length = first >= 0xF0 ? 4 : first >= 0xE0 ? 3 : 2;
    if (first < 0xC2 || first > 0xF4 || i + length > to) {
      return 0;
    }
    for (int j = i + 1; j < i + length; j++) {
      if ((bytes[j] & 0xC0) != 0x80) {
        return 0;
      }
    }
    int codePoint = codePoint(bytes, i, length);
    boolean overlong = length == 3 && codePoint < 0x800 || length == 4 && codePoint < 0x10000;
    boolean surrogate = codePoint >= 0xD800 && codePoint <= 0xDFFF;
    return overlong || surrogate || codePoint > Character.MAX_CODE_POINT ? 0 : length;
  }

  private static int codePoint(byte[] bytes, int i, int length) {
    int codePoint = bytes[i] & (0xFF >> (length + 1));
    for (int j = i + 1; j < i + length; j++) {
      codePoint = codePoint << 6 | bytes[j] & 0x3F;
    }
    return codePoint;
  }

  private static byte[] encodeSlowly(String text) {
    byte[] bytes = new byte[4 * text.length()];
    int size = 0;
    for (int i = 0; i < text.length(); ) {
      int c = text.codePointAt(i);
      i += Character.charCount(c);
      if (c < 0x80) {
        bytes[size++] = (byte) c;
      } else if (isEscape(c)) {
        bytes[size++] = (byte) (c - ESCAPE);
      } else if (c < 0x800) {
        bytes[size++] = (byte) (0xC0 | c >> 6);
        bytes[size++] = (byte) (0x80 | c & 0x3F);
      } else if (c >= 0xD800 && c <= 0xDFFF) {
        throw new MilterException(
            MilterException.Category.BAD_ACTION, "text holds " + loneSurrogate(c));
      } else if (c < 0x10000) {
        bytes[size++] = (byte) (0xE0 | c >> 12);
        bytes[size++] = (byte) (0x80 | c >> 6 & 0x3F);
        bytes[size++] = (byte) (0x80 | c & 0x3F);
      } else {
        bytes[size++] = (byte) (0xF0 | c >> 18);
        bytes[size++] = (byte) (0x80 | c >> 12 & 0x3F);
        bytes[size++] = (byte) (0x80 | c >> 6 & 0x3F);
        bytes[size++] = (byte) (0x80 | c & 0x3F);
      }
    }
    return Arrays.copyOf(bytes, size);
  }
}
