package temse.server.internal;

import java.util.ArrayList;
import java.util.List;
import temse.protocol.Action;
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
  private List<Action> modifications = List.of();
  private Action.Reply reply;
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
      give(Action.proceed());
    }
  }

  /** Answers by the reply to an event that no handler has answered. */
  void give(Action.Reply reply) {
    write(reply, List.of(), null);
  }

  /** Answers by what the error policy's call has collected, or by the default reply. */
  void decide(EventCall call) {
    Response response = call.response();
    Action.Reply given = response.reply();
    write(
        given == null ? state.options.defaultReply(entry.type()) : given,
        response.modifications(),
        response.newBody());
  }

  private void write(Action.Reply given, List<Action> changes, BodyPieces newBody) {
    ActionType effect = given.verdict();
    if (!isOwed(effect)) {
      return;
    }
    if (entry.way() != Way.REPLAY) {
      send(given, changes, newBody);
    }
    modifications = changes;
    reply = given;
    verdict = effect;
  }

  private void send(Action.Reply given, List<Action> changes, BodyPieces newBody) {
    if (newBody == null) {
      ResponseWriter.write(
          entry.answered(), changes, given, state.agreement(), state.link.output());
    } else {
      writer =
          ResponseWriter.begin(
              entry.answered(), changes, newBody, given, state.agreement(), state.link.output());
    }
    state.answered = true;
  }

  private boolean isOwed(ActionType effect) {
    if (entry.way() != Way.CALL_BEFORE_END) {
      return state.owesReply(entry.type());
    }
    return effect != ActionType.CONTINUE && effect != ActionType.SKIP;
  }

  /** {@return true while a part of a new body is still to be written} */
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
      give(Action.temporaryFailure());
    }
    writer = null;
  }

  /** {@return the reply, or null if none was owed} */
  Action.Reply reply() {
    return reply;
  }

  /** {@return what the reply amounts to: see {@link Action.Reply#verdict}} */
  ActionType verdict() {
    return verdict;
  }

  /** {@return true if what was sent has the MTA hold the message for its operator} */
  boolean quarantines() {
    for (Action action : modifications) {
      if (action.type() == ActionType.QUARANTINE) {
        return true;
      }
    }
    return false;
  }

  /** {@return all that was sent, the reply last} */
  List<Action> actions() {
    List<Action> actions = new ArrayList<>(modifications);
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
