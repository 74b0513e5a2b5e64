package temse.server;

import clojure.lang.IPersistentMap;
import java.util.ArrayList;
import java.util.List;
import temse.protocol.ActionCodec;
import temse.protocol.ActionType;
import temse.protocol.Agreement;
import temse.protocol.EventType;
import temse.protocol.Keys;
import temse.protocol.Legality;
import temse.protocol.MilterException;

/** The actions collected in answer to one event, each checked as it comes. */
final class Response {
  private final List<IPersistentMap> modifications = new ArrayList<>(4);
  private IPersistentMap reply;
  private ActionType replyType;
  private boolean bodyChanged;

  void clear() {
    if (!modifications.isEmpty()) {
      modifications.clear();
    }
    reply = null;
    replyType = null;
    bodyChanged = false;
  }

  /** Adds an action, whose progress is the caller's matter. */
  void add(EventType event, IPersistentMap given, Agreement agreement) {
    IPersistentMap action = ActionCodec.normalise(given);
    ActionType type = ActionCodec.type(action);
    if (reply != null) {
      throw afterReply(event, type, action);
    }
    Legality.check(event, type, action, agreement);
    if (type.kind == ActionType.Kind.REPLY) {
      reply = action;
      replyType = type;
    } else {
      addModification(event, type, action);
    }
  }

  /** Returns the error of an action in answer to an event that takes none. */
  static MilterException unanswerable(EventType event, IPersistentMap action) {
    return new MilterException(
        MilterException.Category.REPLY_NOT_ALLOWED,
        event.keyword + " takes no reply, " + action.valAt(Keys.ACTION) + " cannot answer it",
        Keys.ACTION,
        action,
        Keys.EVENT,
        event.keyword);
  }

  private void addModification(EventType event, ActionType type, IPersistentMap action) {
    if (type == ActionType.CHANGE_BODY) {
      if (bodyChanged) {
        throw new MilterException(
            MilterException.Category.BAD_ACTION,
            ":change-body may come once in a response; give it a sequence of pieces instead",
            Keys.EVENT,
            event.keyword);
      }
      bodyChanged = true;
    }
    modifications.add(action);
  }

  private MilterException afterReply(EventType event, ActionType type, IPersistentMap action) {
    boolean second = type.kind == ActionType.Kind.REPLY;
    return new MilterException(
        second ? MilterException.Category.DOUBLE_REPLY : MilterException.Category.LATE_ACTION,
        second
            ? event.keyword + " was answered with " + replyType.keyword + " already"
            : type.keyword
                + " comes after the reply "
                + replyType.keyword
                + "; the reply goes last",
        Keys.ACTION,
        action,
        Keys.EVENT,
        event.keyword);
  }

  List<IPersistentMap> modifications() {
    return modifications;
  }

  /** Returns the reply, or null if none was given. */
  IPersistentMap reply() {
    return reply;
  }
}
