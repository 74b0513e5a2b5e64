package temse.protocol;

/**
 * Names that come in every mail, such as those of header fields: one string for all of them.
 *
 * <p>A small table without locks. A name takes the place of another one with the same hash; who
 * sends many names on purpose gains nothing but fresh strings.
 */
final class RecurringNames {
  private static final int PLACES = 2048;
  private static final int LONGEST = 32;
  private static final String[] NAMES = new String[PLACES];

  private RecurringNames() {}

  /** Returns the text of the bytes from {@code from} to before {@code to}. */
  static String decode(byte[] bytes, int from, int to) {
    if (to - from > LONGEST) {
      return Text.decode(bytes, from, to);
    }
    int hash = 0;
    for (int i = from; i < to; i++) {
      hash = 31 * hash + bytes[i];
    }
    int place = (hash ^ hash >>> 16) & PLACES - 1;
    String known = NAMES[place];
    if (known != null && isText(known, bytes, from, to)) {
      return known;
    }
    String name = Text.decode(bytes, from, to);
    NAMES[place] = name;
    return name;
  }

  private static boolean isText(String name, byte[] bytes, int from, int to) {
    if (name.length() != to - from) {
      return false;
    }
    for (int i = from; i < to; i++) {
      if (name.charAt(i - from) != bytes[i]) {
        return false;
      }
    }
    return true;
  }
}
