package temse.protocol;

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
 */
public record Request(
    Set<EventType> events,
    Set<EventType> optionalEvents,
    Set<EventType> noReplyEvents,
    Set<ActionFlag> actions,
    Set<ActionFlag> optionalActions,
    boolean rejectedRecipients,
    boolean leadingSpace,
    Map<MacroStage, List<String>> macros) {

  /** Returns a builder of a request for nothing. */
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
    private boolean rejectedRecipients;
    private boolean leadingSpace;

    private Builder() {}

    /** Adds events that have a handler. */
    public Builder events(EventType... more) {
      return events(List.of(more));
    }

    /** Adds events that have a handler. */
    public Builder events(Collection<EventType> more) {
      events.addAll(more);
      return this;
    }

    /** Adds events that the milter can do without. */
    public Builder optionalEvents(Collection<EventType> more) {
      optionalEvents.addAll(more);
      return this;
    }

    /** Adds events whose handler never answers. */
    public Builder noReplyEvents(Collection<EventType> more) {
      noReplyEvents.addAll(more);
      return this;
    }

    /** Adds actions that the milter needs. */
    public Builder actions(ActionFlag... more) {
      return actions(List.of(more));
    }

    /** Adds actions that the milter needs. */
    public Builder actions(Collection<ActionFlag> more) {
      actions.addAll(more);
      return this;
    }

    /** Adds actions that the milter would use. */
    public Builder optionalActions(Collection<ActionFlag> more) {
      optionalActions.addAll(more);
      return this;
    }

    /** Says whether recipients that the MTA has rejected are wanted. */
    public Builder rejectedRecipients(boolean wanted) {
      rejectedRecipients = wanted;
      return this;
    }

    /** Says whether header values keep their leading space. */
    public Builder leadingSpace(boolean wanted) {
      leadingSpace = wanted;
      return this;
    }

    /** Asks for these macros at the stage; an empty list asks for none. */
    public Builder macros(MacroStage stage, List<String> names) {
      macros.put(stage, List.copyOf(names));
      return this;
    }

    /** Returns the request. */
    public Request build() {
      return new Request(
          Collections.unmodifiableSet(EnumSet.copyOf(events)),
          Collections.unmodifiableSet(EnumSet.copyOf(optionalEvents)),
          Collections.unmodifiableSet(EnumSet.copyOf(noReplyEvents)),
          Collections.unmodifiableSet(EnumSet.copyOf(actions)),
          Collections.unmodifiableSet(EnumSet.copyOf(optionalActions)),
          rejectedRecipients,
          leadingSpace,
          Collections.unmodifiableMap(new EnumMap<>(macros)));
    }
  }
}
