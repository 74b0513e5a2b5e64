package temse.mime;

import java.util.Locale;

/** Changes a parameter of a Content-Type and nothing else of it. */
final class ContentTypes {
  private ContentTypes() {}

  /** Returns the value of a Content-Type, or null for none, with another charset. */
  static String withCharset(String given, String charset) {
    String type = given == null ? null : StructuredField.parse(given).mediaType();
    if (type == null) {
      return "text/plain; charset=" + charset;
    }
    // Nobody can write what some manage to send.
    String value = given.replace('\r', ' ').replace('\0', ' ');
    StringBuilder changed = new StringBuilder();
    boolean written = false;
    int start = 0;
    while (start < value.length()) {
      int end = parameterEnd(value, start);
      String piece = value.substring(start, end);
      if (!isCharset(piece)) {
        changed.append(piece);
      } else if (!written) {
        int name = piece.toLowerCase(Locale.ROOT).indexOf("charset");
        changed.append(piece, 0, name).append("charset=").append(charset);
        written = true;
      }
      start = end;
    }
    if (!written) {
      String all = changed.toString().stripTrailing();
      changed.setLength(0);
      changed.append(all).append(all.endsWith(";") ? " " : "; ").append("charset=").append(charset);
    }
    return changed.toString();
  }

  /** Returns where the next parameter's semicolon stands, or the end. */
  private static int parameterEnd(String value, int start) {
    boolean quoted = false;
    int comments = 0;
    for (int i = start; i < value.length(); i++) {
      char c = value.charAt(i);
      if (c == '\\' && (quoted || comments > 0)) {
        i++;
      } else if (c == '"' && comments == 0) {
        quoted = !quoted;
      } else if (c == '(' && !quoted) {
        comments++;
      } else if (c == ')' && comments > 0) {
        comments--;
      } else if (c == ';' && !quoted && comments == 0 && i > start) {
        return i;
      }
    }
    return value.length();
  }

  /** Returns whether a piece such as "; charset=utf-8" sets the charset. */
  private static boolean isCharset(String piece) {
    int equals = piece.indexOf('=');
    return equals > 0
        && piece.startsWith(";")
        && piece.substring(1, equals).strip().toLowerCase(Locale.ROOT).matches("charset(\\*.*)?");
  }
}
