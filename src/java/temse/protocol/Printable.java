package temse.protocol;

/**
 * Text as one line that is safe to show on a terminal and to write to a log, whoever wrote it.
 *
 * <p>Control characters, characters that steer the layout (bidirectional overrides, zero-width
 * marks), line separators and lone surrogates are escaped as in Java's string literals; everything
 * else stays, the backslash included. Printable text is returned unchanged, so that a text may pass
 * through here several times.
 */
public final class Printable {
  private static final String CUT = "...";

  private Printable() {}

  /**
   * {@return the printable text of a value, of at most {@code most} characters; {@code ...} ends
   * one that is cut} Of a value whose {@code toString} throws, the name of its class is returned.
   * Never throws unless {@code most} is less than 3.
   *
   * @param value of anybody
   * @param most characters, at least 3
   */
  public static String of(Object value, int most) {
    String text;
    try {
      text = String.valueOf(value);
      text = text == null ? "null" : text;
    } catch (Throwable problem) {
      text = "(" + value.getClass().getName() + ", whose toString fails)";
    }
    return of(text, most);
  }

  /**
   * {@return the printable text, of at most {@code most} characters; takes linear time}
   *
   * @param text of anybody
   * @param most characters, at least 3
   */
  public static String of(String text, int most) {
    int length = text.length();
    int plain = 0;
    while (plain < length && plain < most && isPlain(text.charAt(plain))) {
      plain++;
    }
    return plain == length ? text : escaped(text, plain, most);
  }

  /**
   * {@return the printable text in quotes, with those in it and backslashes escaped, of at most
   * {@code most} characters between them}
   *
   * @param text of anybody
   * @param most characters, at least 3
   */
  public static String quoted(String text, int most) {
    String beginning = text.substring(0, Math.min(text.length(), most + 1));
    return '"' + of(beginning.replace("\\", "\\\\").replace("\"", "\\\""), most) + '"';
  }

  /**
   * {@return an exception to be logged in place of one with foreign texts: itself if its messages
   * and those of its causes are printable lines, else a copy of which that is true, with the same
   * stack trace, or with its text alone if its own methods fail}
   *
   * @param problem whatever was thrown
   */
  public static Throwable throwable(Throwable problem) {
    return PrintableException.of(problem);
  }

  private static String escaped(String text, int plain, int most) {
    StringBuilder line =
        new StringBuilder(Math.min(most, text.length() + 16)).append(text, 0, plain);
    int whole = Math.min(plain, most - CUT.length());
    int i = plain;
    while (i < text.length() && line.length() <= most) {
      int c = text.codePointAt(i);
      append(line, c);
      i += Character.charCount(c);
      if (line.length() <= most - CUT.length()) {
        whole = line.length();
      }
    }
    if (line.length() > most || i < text.length()) {
      line.setLength(whole);
      line.append(CUT);
    }
    return line.toString();
  }

  private static void append(StringBuilder line, int c) {
    switch (c) {
      case '\n' -> line.append("\\n");
      case '\r' -> line.append("\\r");
      case '\t' -> line.append("\\t");
      default -> {
        if (isShown(c)) {
          line.appendCodePoint(c);
        } else {
          for (char unit : Character.toChars(c)) {
            line.append("\\u");
            for (int shift = 12; shift >= 0; shift -= 4) {
              line.append(Character.forDigit(unit >> shift & 0xF, 16));
            }
          }
        }
      }
    }
  }

  private static boolean isPlain(char c) {
    return c >= ' ' && c < 0x7F || c >= 0xA0 && !Character.isSurrogate(c) && isShown(c);
  }

  private static boolean isShown(int c) {
    return switch (Character.getType(c)) {
      case Character.CONTROL,
          Character.FORMAT,
          Character.SURROGATE,
          Character.LINE_SEPARATOR,
          Character.PARAGRAPH_SEPARATOR ->
          false;
      default -> true;
    };
  }
}
