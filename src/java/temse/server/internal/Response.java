package temse.server.internal;

import clojure.lang.IPersistentMap;
import java.util.ArrayList;
import java.util.List;
import temse.protocol.ActionCodec;
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
  private List<IPersistentMap> modifications = List.of();
  private IPersistentMap reply;
  private ActionType replyType;
  private BodyPieces newBody;

  /**
   * Makes an empty response.
   *
   * @param answerable whether the event may be answered
   */
  public Response(EventType event, boolean answerable, Agreement agreement) {
    this.event = event;
    this.answerable = answerable;
    this.agreement = agreement;
  }

  /**
   * Adds a normalised action.
   *
   * @throws MilterException if it cannot answer the event, or not after those that were added
   */
  public void add(IPersistentMap action) {
    ActionType type = ActionCodec.type(action);
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
    if (type.kind == ActionType.Kind.REPLY) {
      reply = action;
      replyType = type;
      return;
    }
    if (type == ActionType.CHANGE_BODY) {
      takeBody(action);
    }
    if (modifications.isEmpty()) {
      modifications = new ArrayList<>(4);
    }
    modifications.add(action);
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
    Object first = reply.valAt(Keys.ACTION);
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

  List<IPersistentMap> modifications() {
    return modifications;
  }

  /** Returns the reply, or null if none was given. */
  IPersistentMap reply() {
    return reply;
  }

  /** Returns the type of the reply, or null if none was given. */
  ActionType replyType() {
    return replyType;
  }

  /** Returns the new body, or null if none was given. */
  BodyPieces newBody() {
    return newBody;
  }
}
