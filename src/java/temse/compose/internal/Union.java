package temse.compose.internal;

import java.util.ArrayList;
import java.util.Collection;
import java.util.EnumMap;
import java.util.EnumSet;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import temse.protocol.ActionFlag;
import temse.protocol.Agreement;
import temse.protocol.EventCodec;
import temse.protocol.EventType;
import temse.protocol.MacroStage;
import temse.protocol.MilterException;
import temse.protocol.Request;

/** What several filters together ask of the MTA. */
public final class Union {
  static final Set<EventType> CONTENT =
      EnumSet.of(EventType.HEADER, EventType.END_OF_HEADERS, EventType.BODY);

  private final List<Asked> all;

  /** Whether content is kept for each: it is for those behind the first that may change it. */
  private final List<Boolean> kept = new ArrayList<>();

  Union(List<Asked> all) {
    this.all = all;
    boolean changed = false;
    for (Asked asked : all) {
      kept.add(changed);
      changed |= asked.changes();
    }
  }

  /**
   * {@return what they ask for}
   *
   * @param all of the filters in their order
   */
  public static Request of(List<Asked> all) {
    return new Union(all).request();
  }

  boolean isKeptFor(int place) {
    return kept.get(place);
  }

  /** {@return the events whose content is kept for one of them} */
  Set<EventType> keptEvents() {
    EnumSet<EventType> events = EnumSet.noneOf(EventType.class);
    for (int place = 0; place < all.size(); place++) {
      if (kept.get(place)) {
        events.addAll(all.get(place).content());
      }
    }
    return events;
  }

  Request request() {
    EnumSet<EventType> own = EnumSet.noneOf(EventType.class);
    own.addAll(keptEvents());
    EnumSet<EventType> events = EnumSet.noneOf(EventType.class);
    EnumSet<EventType> needed = EnumSet.noneOf(EventType.class);
    EnumSet<EventType> answered = EnumSet.of(EventType.END_OF_MESSAGE);
    EnumSet<ActionFlag> actions = EnumSet.noneOf(ActionFlag.class);
    EnumSet<ActionFlag> optional = EnumSet.noneOf(ActionFlag.class);
    for (int place = 0; place < all.size(); place++) {
      Asked asked = all.get(place);
      Request request = asked.request();
      own.addAll(asked.ownEvents());
      events.addAll(request.events());
      needed.addAll(without(request.events(), request.optionalEvents()));
      Set<EventType> answers = without(request.events(), request.noReplyEvents());
      answered.addAll(kept.get(place) ? without(answers, CONTENT) : answers);
      actions.addAll(asked.neededActions());
      optional.addAll(asked.optionalActions());
    }
    needed.addAll(own);
    events.addAll(own);
    if (events.stream().anyMatch(CONTENT::contains)) {
      events.add(EventType.END_OF_MESSAGE);
    }
    optional.removeAll(actions);
    Request.Builder builder =
        Request.builder()
            .events(events)
            .optionalEvents(without(events, needed))
            .noReplyEvents(without(events, answered))
            .actions(actions)
            .optionalActions(optional)
            .rejectedRecipients(requests().anyMatch(Request::rejectedRecipients))
            .leadingSpace(requests().anyMatch(Request::leadingSpace));
    macros().forEach(builder::macros);
    return builder.build();
  }

  private Stream<Request> requests() {
    return all.stream().map(Asked::request);
  }

  private static Set<EventType> without(Collection<EventType> events, Collection<EventType> less) {
    EnumSet<EventType> left = EnumSet.noneOf(EventType.class);
    left.addAll(events);
    left.removeAll(less);
    return left;
  }

  /** Where one filter asks for macros, others are to see those that come of themselves. */
  private Map<MacroStage, List<String>> macros() {
    Map<MacroStage, Set<String>> names = new EnumMap<>(MacroStage.class);
    requests()
        .forEach(
            request ->
                request
                    .macros()
                    .forEach(
                        (stage, more) ->
                            names
                                .computeIfAbsent(stage, s -> new LinkedHashSet<>())
                                .addAll(bare(more))));
    Map<MacroStage, List<String>> lists = new EnumMap<>(MacroStage.class);
    names.forEach(
        (stage, asked) -> {
          asked.addAll(bare(stage.usual));
          lists.put(stage, List.copyOf(asked));
        });
    return lists;
  }

  private static List<String> bare(List<String> names) {
    return names.stream().map(EventCodec::bareName).toList();
  }

  /**
   * Checks that what was agreed when the MTA connected is enough for filters that have asked anew.
   *
   * @throws MilterException EVENTS_REFUSED if it is not
   */
  void checkAgreed(Agreement agreement) {
    Request request = request();
    Stream<EventType> events =
        without(request.events(), request.optionalEvents()).stream()
            .filter(type -> !agreement.handles(type));
    Stream<ActionFlag> actions = request.actions().stream().filter(flag -> !agreement.allows(flag));
    String missing =
        Stream.concat(events, actions).map(Object::toString).collect(Collectors.joining(", "));
    if (!missing.isEmpty()) {
      throw new MilterException(
          MilterException.Category.EVENTS_REFUSED,
          "a filter asks for "
              + missing
              + ", which was not agreed when the MTA has connected, for another SMTP client");
    }
  }
}
