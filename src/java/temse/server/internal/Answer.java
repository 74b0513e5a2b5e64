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
    Response response = call.response();
    IPersistentMap reply =
        state.mayAnswer(entry.type()) ? chosen(response) : Action.proceed().map();
    write(reply, response.modifications(), response.newBody());
  }

  /** Answers by the reply to an event that no handler has answered. */
  void give(IPersistentMap reply) {
    write(reply, List.of(), null);
  }

  /** Answers by what the error policy's call has collected, or by the default reply. */
  void decide(EventCall call) {
    Response response = call.response();
    write(chosen(response), response.modifications(), response.newBody());
  }

  private IPersistentMap chosen(Response response) {
    return response.reply() != null ? response.reply() : state.options.defaultReply(entry.type());
  }

  private void write(IPersistentMap given, List<IPersistentMap> changes, BodyPieces newBody) {
    if (!isOwed(given)) {
      return;
    }
    if (newBody == null) {
      ResponseWriter.write(
          entry.answered(), changes, given, state.agreement(), state.link.output());
    } else {
      writer =
          ResponseWriter.begin(
              entry.answered(), changes, newBody, given, state.agreement(), state.link.output());
    }
    modifications = changes;
    reply = given;
    state.answered = true;
  }

  private boolean isOwed(IPersistentMap given) {
    if (entry.way() != Way.CALL_BEFORE_END) {
      return state.owesReply(entry.type());
    }
    ActionType verdict = ActionCodec.verdict(given);
    return verdict != ActionType.CONTINUE && verdict != ActionType.SKIP;
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
      modifications = List.of();
      reply = Action.temporaryFailure().map();
      ResponseWriter.write(
          entry.answered(), List.of(), reply, state.agreement(), state.link.output());
    }
    writer = null;
  }

  /** Returns the reply, or null if none was owed. */
  IPersistentMap reply() {
    return reply;
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
