package temse.protocol;

import java.util.ArrayList;
import java.util.Collection;
import java.util.Collections;
import java.util.EnumMap;
import java.util.EnumSet;
import java.util.List;
import java.util.Map;
import java.util.Set;

/**
 * What a milter wants of an MTA, before it knows what the MTA offers.
 *
 * <pre>{@code
 * Request.builder().events(EventType.HEADER, EventType.END_OF_MESSAGE)
 *     .actions(ActionFlag.ADD_HEADER).build();
 * }</pre>
 *
 * @param events events that have a handler
 * @param optionalEvents those of them that the milter can do without
 * @param noReplyEvents those of them whose handler never answers
 * @param actions actions that the milter needs
 * @param optionalActions actions that it would use
 * @param rejectedRecipients also send recipients that the MTA has rejected ({@code SMFIP_RCPT_REJ})
 * @param leadingSpace header values with their leading space ({@code SMFIP_HDR_LEADSPC})
 * @param macros names of the macros wanted per stage ({@code smfi_setsymlist}); bare or in braces
 * @param facts what the milter asks of a {@link Transaction}; the events and macros that they need
 *     are among those above
 */
public record Request(
    Set<EventType> events,
    Set<EventType> optionalEvents,
    Set<EventType> noReplyEvents,
    Set<ActionFlag> actions,
    Set<ActionFlag> optionalActions,
    boolean rejectedRecipients,
    boolean leadingSpace,
    Map<MacroStage, List<String>> macros,
    Set<Fact> facts) {

  /** {@return a builder of a request for nothing} */
  public static Builder builder() {
    return new Builder();
  }

  /** Collects a request. */
  public static final class Builder {
    private final Set<EventType> events = EnumSet.noneOf(EventType.class);
    private final Set<EventType> optionalEvents = EnumSet.noneOf(EventType.class);
    private final Set<EventType> noReplyEvents = EnumSet.noneOf(EventType.class);
    private final Set<ActionFlag> actions = EnumSet.noneOf(ActionFlag.class);
    private final Set<ActionFlag> optionalActions = EnumSet.noneOf(ActionFlag.class);
    private final Map<MacroStage, List<String>> macros = new EnumMap<>(MacroStage.class);
    private final Set<Fact> facts = EnumSet.noneOf(Fact.class);
    private boolean rejectedRecipients;
    private boolean leadingSpace;

    private Builder() {}

    /**
     * Adds events that have a handler.
     *
     * @param more needed of the MTA
     * @return this builder
     */
    public Builder events(EventType... more) {
      return events(List.of(more));
    }

    /**
     * Adds events that have a handler.
     *
     * @param more needed of the MTA
     * @return this builder
     */
    public Builder events(Collection<EventType> more) {
      events.addAll(more);
      return this;
    }

    /**
     * Adds events that the milter can do without.
     *
     * @param more asked for if the MTA has them
     * @return this builder
     */
    public Builder optionalEvents(Collection<EventType> more) {
      optionalEvents.addAll(more);
      return this;
    }

    /**
     * Adds events whose handler never answers.
     *
     * @param more sent without waiting, if the MTA can
     * @return this builder
     */
    public Builder noReplyEvents(Collection<EventType> more) {
      noReplyEvents.addAll(more);
      return this;
    }

    /**
     * Adds actions that the milter needs.
     *
     * @param more needed of the MTA
     * @return this builder
     */
    public Builder actions(ActionFlag... more) {
      return actions(List.of(more));
    }

    /**
     * Adds actions that the milter needs.
     *
     * @param more needed of the MTA
     * @return this builder
     */
    public Builder actions(Collection<ActionFlag> more) {
      actions.addAll(more);
      return this;
    }

    /**
     * Adds actions that the milter would use.
     *
     * @param more asked for if the MTA offers them
     * @return this builder
     */
    public Builder optionalActions(Collection<ActionFlag> more) {
      optionalActions.addAll(more);
      return this;
    }

    /**
     * Says whether recipients that the MTA has rejected are wanted.
     *
     * @param wanted default: false
     * @return this builder
     */
    public Builder rejectedRecipients(boolean wanted) {
      rejectedRecipients = wanted;
      return this;
    }

    /**
     * Says whether header values keep their leading space.
     *
     * @param wanted default: false
     * @return this builder
     */
    public Builder leadingSpace(boolean wanted) {
      leadingSpace = wanted;
      return this;
    }

    /**
     * Asks for these macros at the stage; an empty list asks for none.
     *
     * @param stage the event to which the macros belong
     * @param names such as {@code j} or {@code {auth_authen}}
     * @return this builder
     */
    public Builder macros(MacroStage stage, List<String> names) {
      macros.put(stage, List.copyOf(names));
      return this;
    }

    /**
     * Adds facts that the milter wants to know. The events that they need are asked for, optional
     * and without a reply where they have no handler; so are their macros, beside those that are
     * asked for at a stage, or those that the MTA sends there of itself.
     *
     * @param more such as {@code Fact.CLIENT_NAME}
     * @return this builder
     */
    public Builder facts(Collection<Fact> more) {
      facts.addAll(more);
      return this;
    }

    /** {@return the request} */
    public Request build() {
      Set<EventType> watched = EnumSet.noneOf(EventType.class);
      watched.addAll(Fact.events(facts));
      watched.removeAll(events);
      return new Request(
          together(events, watched),
          together(optionalEvents, watched),
          together(noReplyEvents, watched),
          Collections.unmodifiableSet(EnumSet.copyOf(actions)),
          Collections.unmodifiableSet(EnumSet.copyOf(optionalActions)),
          rejectedRecipients,
          leadingSpace,
          Collections.unmodifiableMap(macrosWithFacts()),
          Collections.unmodifiableSet(EnumSet.copyOf(facts)));
    }

    private static Set<EventType> together(Set<EventType> some, Set<EventType> others) {
      EnumSet<EventType> all = EnumSet.copyOf(some);
      all.addAll(others);
      return Collections.unmodifiableSet(all);
    }

    private Map<MacroStage, List<String>> macrosWithFacts() {
      Map<MacroStage, List<String>> lists = new EnumMap<>(macros);
      Fact.macros(facts)
          .forEach(
              (stage, needed) -> {
                List<String> names = new ArrayList<>(lists.getOrDefault(stage, stage.usual));
                List<String> bare = names.stream().map(EventCodec::bareName).toList();
                needed.stream()
                    .filter(name -> !bare.contains(EventCodec.bareName(name)))
                    .forEach(names::add);
                lists.put(stage, List.copyOf(names));
              });
      return lists;
    }
  }
}
