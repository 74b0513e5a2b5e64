package temse.logging.internal;

/**
 * Strings of JSON (RFC 8259) in ASCII. Half a surrogate pair is escaped twice, {@code \\udcxx},
 * since not all programs can read it.
 */
public final class JsonText {
  private static final String CUT = "...";

  private JsonText() {}

  /**
   * Appends a string in quotes. What is cut ends with three dots.
   *
   * @param json is appended to
   * @param text of anybody
   * @param most characters of the text
   * @return the builder
   */
  public static StringBuilder append(StringBuilder json, String text, int most) {
    json.append('"');
    int length = Math.min(text.length(), most);
    for (int i = 0; i < length; i++) {
      char c = text.charAt(i);
      if (Character.isSurrogate(c)) {
        boolean pair =
            Character.isHighSurrogate(c)
                && i + 1 < text.length()
                && Character.isLowSurrogate(text.charAt(i + 1));
        if (pair) {
          unicode(json, c);
          unicode(json, text.charAt(++i));
        } else {
          unicode(json.append('\\'), c);
        }
      } else {
        append(json, c);
      }
    }
    return json.append(length < text.length() ? CUT : "").append('"');
  }

  private static void append(StringBuilder json, char c) {
    switch (c) {
      case '"' -> json.append("\\\"");
      case '\\' -> json.append("\\\\");
      case '\n' -> json.append("\\n");
      case '\r' -> json.append("\\r");
      case '\t' -> json.append("\\t");
      default -> {
        if (c >= ' ' && c < 0x7F) {
          json.append(c);
        } else {
          unicode(json, c);
        }
      }
    }
  }

  private static void unicode(StringBuilder json, char c) {
    json.append("\\u");
    for (int shift = 12; shift >= 0; shift -= 4) {
      json.append(Character.forDigit(c >> shift & 0xF, 16));
    }
  }
}
