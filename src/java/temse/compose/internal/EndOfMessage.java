package temse.compose.internal;

import clojure.lang.IPersistentMap;
import java.io.IOException;
import java.util.ArrayList;
import java.util.List;
import java.util.function.Supplier;
import org.jspecify.annotations.Nullable;
import temse.message.Body;
import temse.message.Mta;
import temse.protocol.Action;
import temse.protocol.ActionType;
import temse.protocol.EventCodec;
import temse.protocol.EventType;
import temse.protocol.Keys;
import temse.server.MilterConnection;

/** Tells filters the end of a message one after the other, and collects what they change. */
final class EndOfMessage {
  private final Sequence sequence;
  private final List<IPersistentMap> changes = new ArrayList<>();

  EndOfMessage(Sequence sequence) {
    this.sequence = sequence;
  }

  /** An event begins: nothing has been changed yet. */
  void begin() {
    changes.clear();
  }

  /** {@return the modifications of all filters, in order} */
  List<IPersistentMap> changes() {
    return changes;
  }

  /** {@return what is to be done for one filter} */
  List<Task> of(Part part, Content content) {
    if (sequence.isRefusedBy(part)) {
      return List.of();
    }
    Task send = c -> send(part, content, c);
    return part.kept && part.isThere(true)
        ? List.of(new Playback(sequence, content, part), send)
        : List.of(send);
  }

  /** Where a filter is out already, what stands around it may add something. */
  private List<Task> send(Part part, Content content, MilterConnection connection)
      throws IOException {
    if (part.isThere(true)) {
      IPersistentMap event = EventCodec.event(EventType.END_OF_MESSAGE);
      return sequence.send(part, connection, event, c -> after(part, content, c));
    }
    if (part.addsAtEnd()) {
      List<IPersistentMap> fields = part.pretended(connection, EventType.END_OF_MESSAGE, List.of());
      take(part, content, connection, fields);
    }
    return List.of();
  }

  private List<Task> after(Part part, Content content, MilterConnection connection)
      throws IOException {
    Part.Answer answer = part.answer(connection, EventType.END_OF_MESSAGE);
    part.done(answer.own() == null ? Action.proceed().map() : answer.own());
    take(part, content, connection, answer.changes());
    if (Reply.isAgainst(answer.reply())) {
      return sequence.decide(part, answer.reply());
    }
    boolean held = answer.changes().stream().anyMatch(a -> is(a, ActionType.QUARANTINE));
    return held && Mta.of(connection.macros()) == Mta.POSTFIX
        ? sequence.decide(answer.reply() == null ? Action.proceed().map() : answer.reply())
        : List.of();
  }

  private static boolean is(IPersistentMap action, ActionType type) {
    return action.valAt(Keys.ACTION) == type.keyword;
  }

  /** Takes the modifications of a filter over, as they have to be after those of earlier ones. */
  private void take(
      Part part, Content content, MilterConnection connection, List<IPersistentMap> given)
      throws IOException {
    Body body = part.member.newBody(connection);
    if (body != null && given.stream().anyMatch(action -> is(action, ActionType.CHANGE_BODY))) {
      content.replaceBody(body);
      changes.removeIf(action -> is(action, ActionType.CHANGE_BODY));
    }
    boolean space = Sequence.hasSpace(connection);
    List<IPersistentMap> own = space ? given.stream().map(part::withSpace).toList() : given;
    for (IPersistentMap action : content.passOn(connection, own, space)) {
      changes.add(sequence.signed(part, withBody(action, body)));
    }
  }

  /** The action's own body was read when it was answered; what was kept of it can be read again. */
  private static IPersistentMap withBody(IPersistentMap action, @Nullable Body body) {
    return body != null && is(action, ActionType.CHANGE_BODY)
        ? action.assoc(Keys.BODY, (Supplier<?>) body::open)
        : action;
  }
}
