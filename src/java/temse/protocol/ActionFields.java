package temse.protocol;

import clojure.lang.IPersistentMap;
import clojure.lang.Keyword;
import java.util.HashSet;
import java.util.List;
import java.util.Set;

/** Reads the values of an action as they travel, each checked. */
final class ActionFields {
  private ActionFields() {}

  /** Returns the complete SMTP reply of a {@code :reply-code}. */
  static String reply(IPersistentMap action) {
    String enhanced = optionalString(action, Keys.ENHANCED_CODE);
    String text = optionalString(action, Keys.TEXT);
    return ReplyText.format(smtpCode(action), enhanced, text == null ? "" : text);
  }

  static long smtpCode(IPersistentMap action) {
    if (isWhole(action.valAt(Keys.SMTP_CODE))) {
      return ((Number) action.valAt(Keys.SMTP_CODE)).longValue();
    }
    throw wrong(action, Keys.SMTP_CODE);
  }

  /** Returns the number under the key, or another one if there is none. */
  static int number(IPersistentMap action, Keyword key, int otherwise) {
    Object value = action.valAt(key);
    if (value == null) {
      return otherwise;
    }
    if (isWhole(value)) {
      long number = ((Number) value).longValue();
      if (number >= 0 && number <= Integer.MAX_VALUE) {
        return (int) number;
      }
    }
    throw wrong(action, key);
  }

  private static boolean isWhole(Object value) {
    return value instanceof Long
        || value instanceof Integer
        || value instanceof Short
        || value instanceof Byte;
  }

  static String headerName(IPersistentMap action) {
    if (!(action.valAt(Keys.NAME) instanceof String name)) {
      throw wrong(action, Keys.NAME);
    }
    for (int i = 0; i < name.length(); i++) {
      char c = name.charAt(i);
      if (c <= ' ' || c == ':' || c == 0x7F) {
        throw bad(
            action,
            ":name must hold no space, colon or control character, it is " + Shown.of(name));
      }
    }
    if (name.isEmpty()) {
      throw bad(action, ":name must not be empty");
    }
    return travelling(action, Keys.NAME, name);
  }

  /** Returns the value with line ends as they travel: LF, which white space must follow. */
  static String headerValue(IPersistentMap action) {
    String value = string(action, Keys.VALUE).replace("\r\n", "\n");
    for (int i = 0; i < value.length(); i++) {
      char c = value.charAt(i);
      if (c == '\r') {
        throw bad(
            action,
            ":value holds a CR; lines are separated by \\n and begin with white space: "
                + Shown.of(value));
      }
      if (c == '\n' && (i + 1 == value.length() || " \t".indexOf(value.charAt(i + 1)) < 0)) {
        throw bad(
            action,
            ":value holds a line that does not begin with a space or tab: " + Shown.of(value));
      }
    }
    return value;
  }

  /** Returns the string under the key, which must be one line and not empty. */
  static String line(IPersistentMap action, Keyword key) {
    String text = singleLine(action, key, string(action, key));
    if (text.isEmpty()) {
      throw bad(action, key + " must not be empty");
    }
    return text;
  }

  /** Returns the ESMTP parameters separated by spaces, or null if there are none. */
  static String parameters(IPersistentMap action) {
    Object parameters = action.valAt(Keys.PARAMETERS);
    String text = null;
    if (parameters instanceof String given) {
      text = singleLine(action, Keys.PARAMETERS, given);
    } else if (parameters instanceof List<?> list) {
      text = joinedParameters(action, list);
    } else if (parameters != null) {
      throw wrong(action, Keys.PARAMETERS);
    }
    if (text != null) {
      checkParameters(action, text);
    }
    return text;
  }

  private static String joinedParameters(IPersistentMap action, List<?> parameters) {
    StringBuilder joined = null;
    for (Object parameter : parameters) {
      if (!(parameter instanceof String text)) {
        throw bad(
            action,
            Keys.PARAMETERS
                + " must be "
                + ActionKeys.right(Keys.PARAMETERS)
                + ", among them is "
                + Shown.of(parameter));
      }
      joined = joined == null ? new StringBuilder() : joined.append(' ');
      joined.append(singleLine(action, Keys.PARAMETERS, text));
    }
    return joined == null ? null : joined.toString();
  }

  private static void checkParameters(IPersistentMap action, String parameters) {
    Set<String> keywords = new HashSet<>();
    for (String parameter : EventCodec.words(parameters)) {
      String correction = EsmtpParameter.correction(parameter);
      if (correction != null) {
        throw bad(
            action,
            Keys.PARAMETERS
                + " holds "
                + Shown.of(parameter)
                + ", which is not as MTAs read it; it must be "
                + correction);
      }
      if (EsmtpParameter.isKnown(parameter) && !keywords.add(EsmtpParameter.keyword(parameter))) {
        throw bad(action, Keys.PARAMETERS + " holds a second " + Shown.of(parameter));
      }
    }
  }

  private static String singleLine(IPersistentMap action, Keyword key, String text) {
    if (text.indexOf('\r') >= 0 || text.indexOf('\n') >= 0) {
      throw bad(action, key + " must hold no CR or LF, it is " + Shown.of(text));
    }
    return travelling(action, key, text);
  }

  private static String string(IPersistentMap action, Keyword key) {
    String text = optionalString(action, key);
    if (text == null) {
      throw wrong(action, key);
    }
    return text;
  }

  private static String optionalString(IPersistentMap action, Keyword key) {
    Object value = action.valAt(key);
    if (value == null) {
      return null;
    }
    if (value instanceof String text) {
      return travelling(action, key, text);
    }
    throw wrong(action, key);
  }

  private static String travelling(IPersistentMap action, Keyword key, String text) {
    String problem = text.indexOf(0) >= 0 ? Text.NUL : Text.problem(text);
    if (problem != null) {
      throw bad(action, key + " holds " + problem + ": " + Shown.of(text));
    }
    return text;
  }

  /** Returns the error of a value that is not what its key wants. */
  static MilterException wrong(IPersistentMap action, Keyword key) {
    Object value = action.valAt(key);
    boolean text = ActionKeys.right(key).equals("a string") && Shown.isPlain(value);
    return bad(
        action,
        key
            + " must be "
            + ActionKeys.right(key)
            + ", it is "
            + (action.containsKey(key) ? Shown.of(value) : "missing")
            + (text ? "; write " + Shown.quoted(plainText(value)) : ""));
  }

  private static String plainText(Object value) {
    String text = value.toString();
    return value instanceof Keyword ? text.substring(1) : text;
  }

  /** Returns an error that names the action, and the header field that it is about. */
  static MilterException bad(IPersistentMap action, String problem, Throwable cause) {
    boolean field = action.valAt(Keys.NAME) instanceof String name && !name.isEmpty();
    return new MilterException(
        MilterException.Category.BAD_ACTION,
        Shown.of(action.valAt(Keys.ACTION))
            + (field ? " of " + Shown.of(action.valAt(Keys.NAME)) : "")
            + ": "
            + problem,
        cause,
        Keys.ACTION,
        action,
        Keys.PROBLEM,
        problem);
  }

  static MilterException bad(IPersistentMap action, String problem) {
    return bad(action, problem, null);
  }
}
