package temse.protocol;

import clojure.lang.IPersistentMap;
import clojure.lang.Keyword;
import clojure.lang.PersistentArrayMap;
import clojure.lang.PersistentHashSet;
import clojure.lang.PersistentVector;
import java.util.Collection;
import java.util.Collections;
import java.util.EnumMap;
import java.util.EnumSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.function.Function;

/**
 * What an open connection lacks for another milter: see {@link Negotiation#missing}.
 *
 * @param events events that the MTA was asked not to send, or does not know
 * @param replies events to which the MTA was told that no reply comes
 * @param actions actions that were not agreed
 * @param macros macros by stage that the MTA was not asked to send
 * @param rejectedRecipients whether recipients that the MTA rejects are sent and not wanted, or
 *     wanted and not sent
 * @param leadingSpace whether header values come with their leading space and should not, or should
 *     and do not
 */
public record Missing(
    Set<EventType> events,
    Set<EventType> replies,
    Set<ActionFlag> actions,
    Map<MacroStage, List<String>> macros,
    boolean rejectedRecipients,
    boolean leadingSpace) {
  /** Nothing is missing. */
  public static final Missing NOTHING =
      new Missing(Set.of(), Set.of(), Set.of(), Map.of(), false, false);

  private static final Keyword EVENTS = Keyword.intern("events");
  private static final Keyword REPLIES = Keyword.intern("replies");
  private static final Keyword ACTIONS = Keyword.intern("actions");
  private static final Keyword MACROS = Keyword.intern("macros");
  private static final Keyword REJECTED_RECIPIENTS = Keyword.intern("rejected-recipients?");
  private static final Keyword LEADING_SPACE = Keyword.intern("leading-space?");

  /**
   * Makes one of copies of what it is given.
   *
   * @param events not sent, or not known
   * @param replies not waited for
   * @param actions not agreed
   * @param macros names by stage
   * @param rejectedRecipients whether the wish for them differs
   * @param leadingSpace whether the wish for it differs
   */
  public Missing {
    events = copy(EventType.class, events);
    replies = copy(EventType.class, replies);
    actions = copy(ActionFlag.class, actions);
    Map<MacroStage, List<String>> byStage = new EnumMap<>(MacroStage.class);
    byStage.putAll(macros);
    macros = Collections.unmodifiableMap(byStage);
  }

  private static <E extends Enum<E>> Set<E> copy(Class<E> type, Set<E> values) {
    EnumSet<E> copy = EnumSet.noneOf(type);
    copy.addAll(values);
    return Collections.unmodifiableSet(copy);
  }

  /**
   * {@return an event that a milter wants and the connection does not have}
   *
   * @param type of the event
   */
  public static Missing event(EventType type) {
    return new Missing(Set.of(type), Set.of(), Set.of(), Map.of(), false, false);
  }

  /** {@return true if nothing is missing} */
  public boolean isEmpty() {
    return equals(NOTHING);
  }

  /** {@return what is missing, and nothing else, by Clojure's keywords} */
  public IPersistentMap map() {
    IPersistentMap map = PersistentArrayMap.EMPTY;
    map = with(map, EVENTS, events, type -> type.keyword);
    map = with(map, REPLIES, replies, type -> type.keyword);
    map = with(map, ACTIONS, actions, flag -> flag.keyword);
    if (!macros.isEmpty()) {
      IPersistentMap byStage = PersistentArrayMap.EMPTY;
      for (Map.Entry<MacroStage, List<String>> entry : macros.entrySet()) {
        byStage = byStage.assoc(entry.getKey().keyword, PersistentVector.create(entry.getValue()));
      }
      map = map.assoc(MACROS, byStage);
    }
    map = rejectedRecipients ? map.assoc(REJECTED_RECIPIENTS, true) : map;
    return leadingSpace ? map.assoc(LEADING_SPACE, true) : map;
  }

  private static <T> IPersistentMap with(
      IPersistentMap map, Keyword key, Collection<T> values, Function<T, Keyword> keyword) {
    return values.isEmpty()
        ? map
        : map.assoc(key, PersistentHashSet.create(values.stream().map(keyword).toList()));
  }

  /** {@return a text such as {@code events body, header; actions add-header}} */
  @Override
  public String toString() {
    StringBuilder text = new StringBuilder();
    part(text, "events ", events.stream().map(type -> type.keyword.getName()).toList());
    part(text, "replies to ", replies.stream().map(type -> type.keyword.getName()).toList());
    part(text, "actions ", actions.stream().map(flag -> flag.keyword.getName()).toList());
    macros.forEach(
        (stage, names) -> part(text, "macros at " + stage.keyword.getName() + " ", names));
    part(text, "", rejectedRecipients ? List.of("rejected recipients") : List.of());
    part(text, "", leadingSpace ? List.of("leading space") : List.of());
    return text.toString();
  }

  private static void part(StringBuilder text, String kind, List<String> names) {
    if (!names.isEmpty()) {
      text.append(text.isEmpty() ? "" : "; ").append(kind).append(String.join(", ", names));
    }
  }
}
