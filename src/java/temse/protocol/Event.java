package temse.protocol;

import clojure.lang.IPersistentMap;
import clojure.lang.Keyword;
import java.util.Collection;
import java.util.List;
import java.util.Map;
import java.util.OptionalInt;
import java.util.stream.Collectors;

/**
 * A read-only view of an event map, with the names of its keys as methods.
 *
 * <pre>{@code
 * Event event = Event.of(map);
 * if (event.type() == EventType.HEADER && event.name().equalsIgnoreCase("Subject")) { ... }
 * }</pre>
 *
 * <p>A method that does not belong to the event throws an IllegalStateException that names those
 * which do.
 */
public final class Event {
  private final EventType type;
  private final IPersistentMap map;

  private Event(EventType type, IPersistentMap map) {
    this.type = type;
    this.map = map;
  }

  /** Returns the view of an event map. */
  public static Event of(IPersistentMap map) {
    EventType type = EventType.ofKeyword(map.valAt(Keys.EVENT));
    if (type == null) {
      throw new IllegalArgumentException("the map is no event: its :event names none");
    }
    return new Event(type, map);
  }

  /** Returns the view of an event map whose type is known. */
  public static Event of(EventType type, IPersistentMap map) {
    return new Event(type, map);
  }

  /** Returns the type. */
  public EventType type() {
    return type;
  }

  /** Returns the map itself. */
  public IPersistentMap map() {
    return map;
  }

  /** Returns the name of a header field, without the colon. */
  public String name() {
    return (String) value(Keys.NAME);
  }

  /** Returns the value of a header field; folds are kept, lines are separated by LF. */
  public String value() {
    return (String) value(Keys.VALUE);
  }

  /** Returns which field of its name a header field is, from 1. */
  public int index() {
    return ((Number) value(Keys.INDEX)).intValue();
  }

  /** Returns the sender of a mail event, with angle brackets as it came. */
  public String sender() {
    return (String) value(Keys.SENDER);
  }

  /**
   * Returns the address of a recipient with angle brackets as it came, or that of the SMTP client
   * in a connect event whose family is not unknown.
   */
  public String address() {
    return (String) value(Keys.ADDRESS);
  }

  /** Returns the ESMTP parameters of a mail or recipient event. */
  public List<String> options() {
    return ((List<?>) value(Keys.OPTIONS)).stream().map(String.class::cast).toList();
  }

  /** Returns the argument of HELO or EHLO. */
  public String greeting() {
    return (String) value(Keys.GREETING);
  }

  /** Returns the name of the SMTP client in a connect event. */
  public String hostName() {
    return (String) value(Keys.HOST_NAME);
  }

  /** Returns the family of the SMTP client: inet, inet6, unix or unknown. */
  public String family() {
    return ((Keyword) value(Keys.FAMILY)).getName();
  }

  /** Returns the port of the SMTP client, empty where its family is unknown. */
  public OptionalInt port() {
    return type == EventType.CONNECT && map.valAt(Keys.PORT) == null
        ? OptionalInt.empty()
        : OptionalInt.of(((Number) value(Keys.PORT)).intValue());
  }

  /** Returns a piece of a body; not to be changed. */
  public byte[] data() {
    return (byte[]) value(Keys.DATA);
  }

  /** Returns the SMTP command that the MTA does not know. */
  public String command() {
    return (String) value(Keys.COMMAND);
  }

  /** Returns why a message or an SMTP client ended: accepted, rejected, quit ... */
  public String reason() {
    return ((Keyword) value(Keys.REASON)).getName();
  }

  /** Returns the event that a message had reached when it was aborted, or ended. */
  public EventType at() {
    return EventType.ofKeyword(value(Keys.AT));
  }

  private Object value(Keyword key) {
    Object value = map.valAt(key);
    if (value == null) {
      throw new IllegalStateException(
          "the event " + type.keyword + " has no " + key + "; it has" + keys());
    }
    return value;
  }

  private String keys() {
    StringBuilder keys = new StringBuilder();
    for (Object key : ((Map<?, ?>) map).keySet()) {
      keys.append(' ').append(key);
    }
    return keys.toString();
  }

  /** Returns the type and the values in one line, of a body the number of its bytes. */
  @Override
  public String toString() {
    StringBuilder text = new StringBuilder(type.keyword.getName());
    ((Map<?, ?>) map)
        .forEach(
            (key, value) -> {
              if (key != Keys.EVENT) {
                text.append(' ').append(key).append(' ').append(text(value));
              }
            });
    return text.toString();
  }

  /** Collections of Clojure load its core when they print themselves. */
  private static String text(Object value) {
    if (value instanceof byte[] bytes) {
      return bytes.length + " bytes";
    }
    if (value instanceof Map<?, ?> entries) {
      return entries.entrySet().stream()
          .map(entry -> text(entry.getKey()) + " " + text(entry.getValue()))
          .collect(Collectors.joining(", ", "{", "}"));
    }
    if (value instanceof Collection<?> values) {
      return values.stream().map(Event::text).collect(Collectors.joining(", ", "[", "]"));
    }
    return String.valueOf(value);
  }
}
