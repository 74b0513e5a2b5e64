package temse.mime;

import java.util.List;
import java.util.Locale;
import temse.message.HeaderField;

/** What lists of header fields are asked. */
final class HeaderFields {
  private HeaderFields() {}

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

  /** Returns whether name and value make one header field when they are written. */
  static boolean isOne(HeaderField field) {
    String value = field.value();
    for (int i = 0; i < value.length(); i++) {
      char c = value.charAt(i);
      char next = i + 1 < value.length() ? value.charAt(i + 1) : 0;
      if (c == '\r' || c == 0 || c == '\n' && next != ' ' && next != '\t') {
        return false;
      }
    }
    return !field.name().isEmpty()
        && field.name().chars().allMatch(c -> c > ' ' && c < 0x7F && c != ':');
  }
}
