package temse.protocol;

import clojure.lang.IPersistentMap;
import clojure.lang.PersistentHashSet;
import java.util.Collections;
import java.util.EnumMap;
import java.util.EnumSet;
import java.util.Map;
import java.util.Set;

/** The one table of which action may answer which event. */
public final class Legality {
  private static final Map<EventType, Set<ActionType>> REPLIES = new EnumMap<>(EventType.class);

  static {
    EnumSet<ActionType> refusals =
        EnumSet.of(
            ActionType.CONTINUE,
            ActionType.REJECT,
            ActionType.TEMPORARY_FAILURE,
            ActionType.REPLY_CODE,
            ActionType.SHUTDOWN,
            ActionType.CONNECTION_FAILURE);
    EnumSet<ActionType> verdicts = with(refusals, ActionType.ACCEPT);
    EnumSet<ActionType> messageVerdicts = with(verdicts, ActionType.DISCARD);
    EnumSet<ActionType> skippable = with(messageVerdicts, ActionType.SKIP);
    REPLIES.put(EventType.CONNECT, verdicts);
    REPLIES.put(EventType.HELLO, verdicts);
    REPLIES.put(EventType.MAIL, messageVerdicts);
    REPLIES.put(EventType.RECIPIENT, skippable);
    REPLIES.put(EventType.DATA, messageVerdicts);
    REPLIES.put(EventType.HEADER, skippable);
    REPLIES.put(EventType.END_OF_HEADERS, messageVerdicts);
    REPLIES.put(EventType.BODY, skippable);
    REPLIES.put(EventType.END_OF_MESSAGE, messageVerdicts);
    REPLIES.put(EventType.UNKNOWN, refusals);
  }

  private Legality() {}

  /**
   * {@return the replies that may answer the event; none for an event that owes no reply}
   *
   * @param type of the event
   */
  public static Set<ActionType> replies(EventType type) {
    return Collections.unmodifiableSet(
        REPLIES.getOrDefault(type, EnumSet.noneOf(ActionType.class)));
  }

  /**
   * Checks that a normalised action may be sent in answer to the event under the agreement.
   *
   * @param event which is answered
   * @param type of the action
   * @param action as {@link ActionCodec#normalise} returns it
   * @param agreement with the MTA
   * @throws MilterException REPLY_NOT_ALLOWED or ACTION_NOT_NEGOTIATED, with what would be right
   */
  public static void check(
      EventType event, ActionType type, IPersistentMap action, Agreement agreement) {
    boolean reply = type.kind == ActionType.Kind.REPLY;
    if (reply ? !replies(event).contains(type) : replies(event).isEmpty()) {
      throw notAllowed(event, type);
    }
    if (type.kind == ActionType.Kind.MODIFICATION && event != EventType.END_OF_MESSAGE) {
      throw new MilterException(
          MilterException.Category.REPLY_NOT_ALLOWED,
          type.keyword
              + " is not allowed at "
              + event.keyword
              + ": messages are changed at :end-of-message only",
          Keys.ACTION,
          action,
          Keys.EVENT,
          event.keyword);
    }
    ActionFlag flag = ActionCodec.flag(type, action);
    if (flag != null && !agreement.allows(flag)) {
      throw new MilterException(
          MilterException.Category.ACTION_NOT_NEGOTIATED,
          type.keyword
              + " needs "
              + flag.keyword
              + " ("
              + flag.constant
              + "), which is not among the agreed actions; add "
              + flag.keyword
              + " to :actions or :optional-actions, and see that the MTA offers it",
          Keys.ACTION,
          action,
          "agreed",
          PersistentHashSet.create(
              agreement.actions().stream().map(agreed -> agreed.keyword).toArray()));
    }
  }

  private static MilterException notAllowed(EventType event, ActionType type) {
    StringBuilder allowed = new StringBuilder();
    for (ActionType reply : replies(event)) {
      allowed.append(' ').append(reply.keyword);
    }
    return new MilterException(
        MilterException.Category.REPLY_NOT_ALLOWED,
        type.keyword
            + " may not answer "
            + event.keyword
            + (allowed.length() == 0
                ? ", which owes no reply"
                : "; it may be answered by" + allowed),
        Keys.ACTION,
        type.keyword,
        Keys.EVENT,
        event.keyword,
        "allowed",
        PersistentHashSet.create(replies(event).stream().map(reply -> reply.keyword).toArray()));
  }

  private static EnumSet<ActionType> with(EnumSet<ActionType> set, ActionType more) {
    EnumSet<ActionType> larger = EnumSet.copyOf(set);
    larger.add(more);
    return larger;
  }
}
