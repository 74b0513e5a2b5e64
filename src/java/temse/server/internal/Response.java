package temse.server.internal;

import clojure.lang.IPersistentMap;
import java.util.ArrayList;
import java.util.List;
import temse.protocol.Action;
import temse.protocol.ActionType;
import temse.protocol.Agreement;
import temse.protocol.BodyPieces;
import temse.protocol.EventType;
import temse.protocol.Keys;
import temse.protocol.Legality;
import temse.protocol.MilterException;

/** The actions collected in answer to one event, each checked as it comes. Not thread-safe. */
public final class Response {
  /** No actions; nothing is added to it. */
  static final Response NONE = new Response(null, false, null);

  private final EventType event;
  private final boolean answerable;
  private final Agreement agreement;
  private List<Action> modifications = List.of();
  private Action.Reply reply;
  private BodyPieces newBody;

  /**
   * Makes an empty response.
   *
   * @param event which is answered
   * @param answerable whether the event may be answered
   * @param agreement with the MTA
   */
  public Response(EventType event, boolean answerable, Agreement agreement) {
    this.event = event;
    this.answerable = answerable;
    this.agreement = agreement;
  }

  /**
   * Adds a normalised action.
   *
   * @param action the typed action
   * @throws MilterException if it cannot answer the event, or not after those that were added
   */
  public void add(IPersistentMap action) {
    Action view = Action.view(action);
    ActionType type = view.type();
    if (!answerable) {
      if (type != ActionType.CONTINUE) {
        throw error(
            MilterException.Category.REPLY_NOT_ALLOWED,
            event.keyword + " takes no reply, " + type.keyword + " cannot answer it",
            action);
      }
      return;
    }
    if (reply != null) {
      throw afterReply(type, action);
    }
    Legality.check(event, type, action, agreement);
    if (view instanceof Action.Reply last) {
      reply = last;
      return;
    }
    if (type == ActionType.CHANGE_BODY) {
      takeBody(action);
    }
    if (modifications.isEmpty()) {
      modifications = new ArrayList<>(4);
    }
    modifications.add(view);
  }

  private void takeBody(IPersistentMap action) {
    if (newBody != null) {
      throw error(
          MilterException.Category.BAD_ACTION,
          ":change-body may come once in a response; give it a sequence of pieces instead",
          action);
    }
    newBody = BodyPieces.of(action);
  }

  private MilterException afterReply(ActionType second, IPersistentMap action) {
    Object first = reply.type().keyword;
    return second.kind == ActionType.Kind.REPLY
        ? error(
            MilterException.Category.DOUBLE_REPLY,
            event.keyword + " was answered with " + first + " already",
            action)
        : error(
            MilterException.Category.LATE_ACTION,
            second.keyword + " comes after the reply " + first + "; the reply goes last",
            action);
  }

  private MilterException error(
      MilterException.Category category, String message, IPersistentMap action) {
    return new MilterException(category, message, Keys.ACTION, action, Keys.EVENT, event.keyword);
  }

  List<Action> modifications() {
    return modifications;
  }

  /** {@return the reply, or null if none was given} */
  Action.Reply reply() {
    return reply;
  }

  /** {@return the new body, or null if none was given} */
  BodyPieces newBody() {
    return newBody;
  }
}
