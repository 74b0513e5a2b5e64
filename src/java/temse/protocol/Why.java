package temse.protocol;

import clojure.lang.IPersistentCollection;
import clojure.lang.IPersistentMap;
import clojure.lang.IPersistentSet;
import clojure.lang.Keyword;
import clojure.lang.Sequential;
import clojure.lang.Symbol;
import java.util.Iterator;
import java.util.Map;
import java.util.StringJoiner;
import org.jspecify.annotations.Nullable;

/**
 * The reason that an action carries under {@code :why}, as logs and reports write it: one printable
 * line of bounded length, made without calling code of users.
 */
public final class Why {
  private static final int LONGEST = 320;
  private static final int MOST = 20;
  private static final int DEEPEST = 4;

  private Why() {}

  /**
   * {@return the text of data of any kind; of objects that are no data it is the class} The name of
   * one of several filters comes first: {@code spf: no record}.
   *
   * @param why string, keyword, number, map or sequence
   */
  public static String text(@Nullable Object why) {
    return Printable.of(whole(why), LONGEST);
  }

  private static String whole(@Nullable Object why) {
    if (!ofFilter(why)) {
      return data(why, DEEPEST);
    }
    IPersistentMap reason = (IPersistentMap) why;
    Object own = reason.valAt(Keys.WHY);
    return data(reason.valAt(Keys.FILTER), 1)
        + (own == null ? "" : ": " + (ofFilter(own) ? text(own) : data(own, DEEPEST)));
  }

  private static boolean ofFilter(@Nullable Object why) {
    return why instanceof IPersistentMap map && map.containsKey(Keys.FILTER);
  }

  private static String data(@Nullable Object value, int depth) {
    if (!(value instanceof IPersistentCollection)) {
      return plain(value);
    }
    if (depth == 0) {
      return "...";
    }
    if (value instanceof IPersistentMap) {
      return parts("{", (Iterable<?>) value, "}", depth);
    }
    if (value instanceof IPersistentSet) {
      return parts("#{", (Iterable<?>) value, "}", depth);
    }
    return value instanceof Sequential && value instanceof Iterable<?> items
        ? parts("[", items, "]", depth)
        : plain(value);
  }

  private static String parts(String opening, Iterable<?> items, String closing, int depth) {
    StringJoiner text = new StringJoiner(" ", opening, closing);
    Iterator<?> left = items.iterator();
    for (int shown = 0; shown < MOST && left.hasNext(); shown++) {
      text.add(part(left.next(), depth - 1));
    }
    return left.hasNext() ? text.add("...").toString() : text.toString();
  }

  private static String part(@Nullable Object item, int depth) {
    return item instanceof Map.Entry<?, ?> entry
        ? data(entry.getKey(), depth) + " " + data(entry.getValue(), depth)
        : data(item, depth);
  }

  private static String plain(@Nullable Object value) {
    if (value == null) {
      return "";
    }
    boolean shown =
        value instanceof String
            || value instanceof Keyword
            || value instanceof Symbol
            || value instanceof Long
            || value instanceof Integer
            || value instanceof Short
            || value instanceof Byte
            || value instanceof Double
            || value instanceof Character
            || value instanceof Boolean;
    return shown ? value.toString() : "(" + value.getClass().getName() + ")";
  }
}
