package temse.protocol;

import clojure.lang.IPersistentMap;
import clojure.lang.Keyword;
import java.util.Collection;
import java.util.List;
import java.util.Map;
import java.util.stream.Collectors;

/** A typed view of an immutable map; views are equal if their maps are. */
abstract class MapView {
  private final Keyword name;
  private final IPersistentMap map;

  /**
   * Makes the view of a map.
   *
   * @param name the key under which the map holds its type
   */
  MapView(Keyword name, IPersistentMap map) {
    this.name = name;
    this.map = map;
  }

  /** {@return the map itself, as Clojure has it} */
  public IPersistentMap map() {
    return map;
  }

  String string(Keyword key) {
    return (String) map.valAt(key);
  }

  int number(Keyword key) {
    return ((Number) map.valAt(key)).intValue();
  }

  /** {@return the strings under the key, none if there is no such key} */
  List<String> strings(Keyword key) {
    return map.valAt(key) instanceof List<?> list
        ? list.stream().map(String.class::cast).toList()
        : List.of();
  }

  @Override
  public boolean equals(Object other) {
    return other instanceof MapView view && map.equals(view.map);
  }

  @Override
  public int hashCode() {
    return map.hashCode();
  }

  /** {@return the type and the values in one line; of bytes their number} */
  @Override
  public String toString() {
    StringBuilder text = new StringBuilder(((Keyword) map.valAt(name)).getName());
    ((Map<?, ?>) map)
        .forEach(
            (key, value) -> {
              if (key != name) {
                text.append(' ').append(text(key)).append('=').append(text(value));
              }
            });
    return text.toString();
  }

  /** Collections of Clojure load its core when they print themselves. */
  private static String text(Object value) {
    if (value instanceof byte[] bytes) {
      return bytes.length + " bytes";
    }
    if (value instanceof Keyword keyword) {
      return keyword.getName();
    }
    if (value instanceof Map<?, ?> entries) {
      return entries.entrySet().stream()
          .map(entry -> text(entry.getKey()) + "=" + text(entry.getValue()))
          .collect(Collectors.joining(", ", "{", "}"));
    }
    if (value instanceof Collection<?> values) {
      return values.stream().map(MapView::text).collect(Collectors.joining(", ", "[", "]"));
    }
    return String.valueOf(value);
  }
}
