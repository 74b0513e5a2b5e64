package temse.compose.internal;

import clojure.lang.IPersistentMap;
import java.util.ArrayList;
import java.util.List;
import java.util.Objects;
import java.util.function.Predicate;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.jspecify.annotations.Nullable;
import temse.protocol.Keys;

/**
 * A header field in the list that an MTA keeps of a message.
 *
 * @param name without the colon
 * @param raw what follows the colon, or null: the field is not written, and may keep its place
 * @param kind what it is to the MTA
 */
public record Field(String name, @Nullable String raw, Kind kind) {
  private static final Pattern BARE_LINE = Pattern.compile("\\n(?![ \\t])");

  /** What a field is to the MTA. */
  public enum Kind {
    /** A field of the client or of a filter. */
    GIVEN,
    /** One that the MTA makes, or would have made. */
    MADE,
    /** One that an earlier filter has deleted: its place is free for another of its name. */
    GONE,
    /** A place that is there only because a field without a value could not take a free one. */
    SURPLUS
  }

  /**
   * {@return a field of the client or of a filter}
   *
   * @param name without the colon
   * @param raw what follows the colon, or null
   */
  public static Field given(String name, @Nullable String raw) {
    return new Field(name, raw, Kind.GIVEN);
  }

  /**
   * {@return a field that the MTA makes, with a value or without one}
   *
   * @param name without the colon
   * @param value without the leading space, or null
   */
  public static Field made(String name, @Nullable String value) {
    return new Field(name, " " + Objects.requireNonNullElse(value, ""), Kind.MADE);
  }

  /** {@return true if the MTA makes it} */
  public boolean isMade() {
    return kind == Kind.MADE;
  }

  /**
   * {@return true if it has this name, in any case of letters}
   *
   * @param other without the colon
   */
  public boolean isNamed(String other) {
    return name.equalsIgnoreCase(other);
  }

  /**
   * {@return the field with something else behind the colon}
   *
   * @param other what follows the colon, or null
   */
  public Field withRaw(@Nullable String other) {
    return new Field(name, other, kind);
  }

  Field withKind(Kind other) {
    return new Field(name, raw, other);
  }

  // ---- what an action puts there

  /**
   * Returns what the value of an action puts behind the colon, or null. Lines without white space
   * at their beginning, which other milters may send, get an indent.
   */
  static @Nullable String raw(IPersistentMap action, boolean leadingSpace, String indent) {
    String value = (String) action.valAt(Keys.VALUE);
    return value == null
        ? null
        : BARE_LINE
            .matcher(leadingSpace ? value : " " + value)
            .replaceAll(Matcher.quoteReplacement("\n" + indent));
  }

  static boolean isEmpty(IPersistentMap action) {
    String value = (String) action.valAt(Keys.VALUE);
    return value == null || value.isEmpty();
  }

  /** {@return which of its name the field is that an action changes, from 0} */
  static int index(IPersistentMap action) {
    Number index = (Number) action.valAt(Keys.INDEX);
    return index == null ? 0 : Math.max(1, index.intValue()) - 1;
  }

  // ---- lists

  static List<Integer> places(List<Field> fields, Predicate<Field> matches) {
    List<Integer> places = new ArrayList<>();
    for (int place = 0; place < fields.size(); place++) {
      if (matches.test(fields.get(place))) {
        places.add(place);
      }
    }
    return places;
  }

  /** {@return the first place of a field that matches, or -1} */
  static int firstPlace(List<Field> fields, Predicate<Field> matches) {
    for (int place = 0; place < fields.size(); place++) {
      if (matches.test(fields.get(place))) {
        return place;
      }
    }
    return -1;
  }

  /** {@return the last place of a field that matches, or -1} */
  static int lastPlace(List<Field> fields, Predicate<Field> matches) {
    for (int place = fields.size() - 1; place >= 0; place--) {
      if (matches.test(fields.get(place))) {
        return place;
      }
    }
    return -1;
  }

  static List<Field> with(List<Field> fields, Field more) {
    return inserted(fields, fields.size(), more);
  }

  /** {@return the fields with one more before a place, or at the end} */
  static List<Field> inserted(List<Field> fields, long place, Field more) {
    List<Field> all = new ArrayList<>(fields);
    all.add((int) Math.min(place, fields.size()), more);
    return all;
  }

  static List<Field> replaced(List<Field> fields, int place, Field other) {
    List<Field> all = new ArrayList<>(fields);
    all.set(place, other);
    return all;
  }
}
