package temse.protocol;

import clojure.lang.Keyword;
import clojure.lang.Symbol;

/**
 * What a user wrote, as an error message shows it: short, on one line, and without calling code of
 * the user's such as {@code toString}.
 */
final class Shown {
  private static final int LONGEST = 80;

  private Shown() {}

  /**
   * Returns a string in quotes, a number, keyword, symbol or truth value as it is written, and of
   * anything else its class.
   */
  static String of(Object value) {
    if (value == null) {
      return "nil";
    }
    if (value instanceof String text) {
      return quoted(text);
    }
    if (isPlain(value)) {
      String text = Printable.of(value.toString(), LONGEST);
      return value instanceof Character ? "the character " + text : text;
    }
    return "an instance of " + value.getClass().getTypeName();
  }

  /** Returns the text in quotes, its end left out if it is long. */
  static String quoted(String text) {
    return Printable.quoted(text, LONGEST);
  }

  /** Returns true if the value's text is known to be short and to come from no code of a user's. */
  static boolean isPlain(Object value) {
    return value instanceof Long
        || value instanceof Integer
        || value instanceof Short
        || value instanceof Byte
        || value instanceof Double
        || value instanceof Float
        || value instanceof Boolean
        || value instanceof Character
        || value instanceof Keyword
        || value instanceof Symbol;
  }
}
