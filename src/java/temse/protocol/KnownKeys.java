package temse.protocol;

import clojure.lang.Keyword;
import clojure.lang.Named;
import java.util.Collection;
import java.util.List;
import java.util.Locale;
import org.jspecify.annotations.Nullable;

/**
 * The keys that a map may have, and the names that may stand for something: whatever else is
 * written gets an error with the nearest right one.
 *
 * <pre>{@code
 * KnownKeys.of(Keys.NAME, Keys.VALUE).suggestion(":vlaue"); // "; did you mean :value?"
 * KnownKeys.closest(":vlaue", List.of(Keys.VALUE));         // :value
 * }</pre>
 */
public final class KnownKeys {
  private static final int MOST_EDITS = 3;
  private static final int LONGEST = 64;
  private static final int SHORTEST_CUT = 3;

  private final List<Keyword> keys;

  private KnownKeys(List<Keyword> keys) {
    this.keys = keys;
  }

  /**
   * {@return the keys as a set to check maps against}
   *
   * @param keys in the order in which errors list them
   */
  public static KnownKeys of(Keyword... keys) {
    return new KnownKeys(List.of(keys));
  }

  /** {@return the keys, in the order in which they were given} */
  public List<Keyword> keys() {
    return keys;
  }

  /**
   * {@return "; did you mean :value?" where one of the keys was probably meant, or ""}
   *
   * @param given anything
   */
  public String suggestion(Object given) {
    return didYouMean(closest(given, keys));
  }

  /**
   * {@return the end of an error: "; did you mean :value?", or "" for null}
   *
   * @param meant what was probably meant, as it is to be printed, or null
   */
  public static String didYouMean(@Nullable Object meant) {
    return meant == null ? "" : "; did you mean " + meant + "?";
  }

  /**
   * {@return the one of the names that was probably meant, or null if none is near}
   *
   * @param <T> what the names are
   * @param given a keyword, symbol or string; anything else is near to nothing
   * @param names keywords, symbols or strings
   */
  public static <T> @Nullable T closest(Object given, Collection<T> names) {
    String word = text(given);
    if (word == null || word.length() > LONGEST) {
      return null;
    }
    T closest = null;
    int fewest = Math.min(MOST_EDITS, Math.max(1, word.length() / 2));
    for (T name : names) {
      String known = text(name);
      int edits = known == null ? Integer.MAX_VALUE : distance(word, known);
      if (edits < fewest || edits == fewest && closest == null) {
        fewest = edits;
        closest = name;
      }
    }
    return closest != null ? closest : completed(word, names);
  }

  private static String text(Object name) {
    if (name instanceof Named named) {
      return named.getName().toLowerCase(Locale.ROOT);
    }
    if (name instanceof String text) {
      return (text.startsWith(":") ? text.substring(1) : text).toLowerCase(Locale.ROOT);
    }
    return null;
  }

  /** {@return the first name that begins with the word, or null} */
  private static <T> T completed(String word, Collection<T> names) {
    if (word.length() >= SHORTEST_CUT) {
      for (T name : names) {
        String known = text(name);
        if (known != null && known.startsWith(word)) {
          return name;
        }
      }
    }
    return null;
  }

  /** {@return how many letters must be inserted, deleted, replaced or swapped with the next one} */
  private static int distance(String a, String b) {
    int[][] edits = new int[a.length() + 1][b.length() + 1];
    for (int i = 0; i <= a.length(); i++) {
      for (int j = 0; j <= b.length(); j++) {
        if (i == 0 || j == 0) {
          edits[i][j] = i + j;
          continue;
        }
        int replaced = edits[i - 1][j - 1] + (a.charAt(i - 1) == b.charAt(j - 1) ? 0 : 1);
        edits[i][j] = Math.min(replaced, 1 + Math.min(edits[i - 1][j], edits[i][j - 1]));
        boolean swapped =
            i > 1
                && j > 1
                && a.charAt(i - 1) == b.charAt(j - 2)
                && a.charAt(i - 2) == b.charAt(j - 1);
        if (swapped) {
          edits[i][j] = Math.min(edits[i][j], edits[i - 2][j - 2] + 1);
        }
      }
    }
    return edits[a.length()][b.length()];
  }
}
