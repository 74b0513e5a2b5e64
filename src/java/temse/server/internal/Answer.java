package temse.server.internal;

import clojure.lang.IPersistentMap;
import java.util.ArrayList;
import java.util.List;
import temse.protocol.Action;
import temse.protocol.ActionCodec;
import temse.protocol.ActionType;
import temse.protocol.BodyPieces;
import temse.server.internal.Entry.Way;

/**
 * What is written in answer to the event at hand.
 *
 * <p>The last piece of a body shares its reply with the end of message: only a verdict answers
 * both.
 */
final class Answer {
  private final ConnectionState state;
  private Entry entry;
  private List<IPersistentMap> modifications = List.of();
  private IPersistentMap reply;
  private ActionType verdict;
  private ResponseWriter writer;

  Answer(ConnectionState state) {
    this.state = state;
  }

  /** The turn of an entry begins: it has no answer yet. */
  void begin(Entry next) {
    entry = next;
    modifications = List.of();
    reply = null;
  }

  /** Answers by what the handler's call has collected, or by the default reply. */
  void give(EventCall call) {
    if (state.mayAnswer(entry.type())) {
      decide(call);
    } else {
      give(Action.proceed().map());
    }
  }

  /** Answers by the reply to an event that no handler has answered. */
  void give(IPersistentMap reply) {
    write(reply, typeOf(reply), List.of(), null);
  }

  /** Answers by what the error policy's call has collected, or by the default reply. */
  void decide(EventCall call) {
    Response response = call.response();
    IPersistentMap given = response.reply();
    if (given == null) {
      IPersistentMap silent = state.options.defaultReply(entry.type());
      write(silent, typeOf(silent), response.modifications(), response.newBody());
    } else {
      write(given, response.replyType(), response.modifications(), response.newBody());
    }
  }

  private static ActionType typeOf(IPersistentMap reply) {
    return reply == Action.proceed().map() ? ActionType.CONTINUE : ActionCodec.type(reply);
  }

  private void write(
      IPersistentMap given, ActionType type, List<IPersistentMap> changes, BodyPieces newBody) {
    ActionType effect = ActionCodec.verdict(type, given);
    if (!isOwed(effect)) {
      return;
    }
    if (newBody == null) {
      ResponseWriter.write(
          entry.answered(), changes, given, type, state.agreement(), state.link.output());
    } else {
      writer =
          ResponseWriter.begin(
              entry.answered(),
              changes,
              newBody,
              given,
              type,
              state.agreement(),
              state.link.output());
    }
    modifications = changes;
    reply = given;
    verdict = effect;
    state.answered = true;
  }

  private boolean isOwed(ActionType effect) {
    if (entry.way() != Way.CALL_BEFORE_END) {
      return state.owesReply(entry.type());
    }
    return effect != ActionType.CONTINUE && effect != ActionType.SKIP;
  }

  /** The answer to an offer, which was written already. */
  void isOffer(List<IPersistentMap> answer) {
    modifications = answer;
  }

  /** Returns true while a part of a new body is still to be written. */
  boolean isWriting() {
    return writer != null;
  }

  /**
   * Writes more of a new body. If the rest cannot be had a temporary failure ends the response,
   * whatever was chosen: a part may be on its way, and that must not pass.
   */
  void writeOn() {
    try {
      if (!writer.write(state.link.output())) {
        return;
      }
    } catch (Throwable e) {
      state.report(entry, e);
      writer.close();
      give(Action.temporaryFailure().map());
    }
    writer = null;
  }

  /** Returns the reply, or null if none was owed. */
  IPersistentMap reply() {
    return reply;
  }

  /** Returns what the reply amounts to: see {@link ActionCodec#verdict}. */
  ActionType verdict() {
    return verdict;
  }

  /** Returns all that was sent, the reply last. */
  List<IPersistentMap> actions() {
    List<IPersistentMap> actions = new ArrayList<>(modifications);
    if (reply != null) {
      actions.add(reply);
    }
    return actions;
  }

  /** Gives up what is not written yet, and keeps nothing of the event. */
  void close() {
    if (writer != null) {
      writer.close();
      writer = null;
    }
    begin(null);
  }
}
