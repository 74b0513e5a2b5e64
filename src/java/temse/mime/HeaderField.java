package temse.mime;

import java.util.List;
import java.util.Locale;

/**
 * A header field. The value stands without the space after the colon and has its folds as LF and
 * white space.
 *
 * @param name the name
 * @param value the value
 */
public record HeaderField(String name, String value) {
  /** Returns whether the field has a name; case does not matter. */
  public boolean isNamed(String other) {
    return name.equalsIgnoreCase(other);
  }

  /** Returns whether name and value make one header field when they are written. */
  boolean isOne() {
    for (int i = 0; i < value.length(); i++) {
      char c = value.charAt(i);
      char next = i + 1 < value.length() ? value.charAt(i + 1) : 0;
      if (c == '\r' || c == 0 || c == '\n' && next != ' ' && next != '\t') {
        return false;
      }
    }
    return !name.isEmpty() && name.chars().allMatch(c -> c > ' ' && c < 0x7F && c != ':');
  }

  /** Returns the value of the first field of a name, or null. */
  static String first(List<HeaderField> fields, String name) {
    for (HeaderField field : fields) {
      if (field.isNamed(name)) {
        return field.value();
      }
    }
    return null;
  }

  /** Returns what a value means where case does not matter: trimmed and in lower case, or null. */
  static String keyword(String value) {
    return value == null ? null : value.strip().toLowerCase(Locale.ROOT);
  }
}
