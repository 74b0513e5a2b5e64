package temse.compose.internal;

import java.util.EnumSet;
import java.util.Set;
import temse.protocol.ActionFlag;
import temse.protocol.Agreement;
import temse.protocol.EventType;
import temse.protocol.Request;

/**
 * What a filter of several asks of the MTA.
 *
 * @param node the filter
 * @param request what it wants
 * @param agreement what holds between it and the sequence
 */
public record Asked(Node node, Request request, Agreement agreement) {
  /** {@return true if it may change what later filters see} */
  boolean changes() {
    return node.pretence() == null
        ? agreement.allows(ActionFlag.ADD_HEADER)
            || agreement.allows(ActionFlag.CHANGE_HEADER)
            || agreement.allows(ActionFlag.CHANGE_BODY)
        : node.adds();
  }

  /** {@return true if it receives MAIL, perhaps only because messages begin with it} */
  boolean beginsByMail() {
    return !agreement.suppresses(EventType.MAIL);
  }

  /** {@return the events that are needed for it, beside those that it asks for} */
  Set<EventType> ownEvents() {
    EnumSet<EventType> own = EnumSet.of(EventType.MESSAGE_END, EventType.DISCONNECT);
    if (beginsByMail() || node.ofMessage() != null) {
      own.add(EventType.MAIL);
    }
    if (node.ofClient() != null || node.ofMessage() != null) {
      own.add(EventType.CONNECT);
    }
    if (node.adds()) {
      own.add(EventType.END_OF_MESSAGE);
    }
    return own;
  }

  /**
   * Returns the content that it needs where that is kept for it. One that changes header fields by
   * their number needs them, since earlier filters may have deleted some.
   */
  Set<EventType> content() {
    EnumSet<EventType> content = EnumSet.noneOf(EventType.class);
    if (request.events().contains(EventType.BODY)) {
      content.add(EventType.BODY);
    }
    if (request.events().contains(EventType.HEADER)
        || agreement.allows(ActionFlag.CHANGE_HEADER)
        || agreement.allows(ActionFlag.ADD_HEADER)) {
      content.add(EventType.HEADER);
    }
    return content;
  }

  Set<ActionFlag> neededActions() {
    EnumSet<ActionFlag> needed = EnumSet.noneOf(ActionFlag.class);
    if (node.pretence() == null) {
      needed.addAll(request.actions());
    }
    if (node.adds()) {
      needed.add(ActionFlag.ADD_HEADER);
    }
    return needed;
  }

  Set<ActionFlag> optionalActions() {
    return node.pretence() == null ? request.optionalActions() : Set.of();
  }
}
