package temse.client;

import clojure.lang.IPersistentMap;
import clojure.lang.Keyword;
import clojure.lang.PersistentArrayMap;
import clojure.lang.PersistentVector;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.net.SocketTimeoutException;
import java.util.ArrayList;
import java.util.List;
import temse.protocol.Action;
import temse.protocol.ActionCodec;
import temse.protocol.ActionType;
import temse.protocol.EventCodec;
import temse.protocol.EventType;
import temse.protocol.Keys;
import temse.protocol.MilterException;
import temse.protocol.MtaDialogue;

/** Plays the mails of one SMTP client to a milter, and reports what it makes of each. */
final class Delivery {
  private final MtaSession session;
  private final Script script;
  private List<IPersistentMap> exchanges = new ArrayList<>();
  private EventType failedAt;
  private Exception failure;

  Delivery(MtaSession session) {
    this.session = session;
    this.script = new Script(session, exchange -> exchanges.add(exchange));
  }

  void greet(IPersistentMap connect, String greeting) throws IOException {
    List<IPersistentMap> events = new ArrayList<>(List.of(connect));
    if (greeting != null) {
      events.add(EventCodec.event(EventType.HELLO, Keys.GREETING, greeting));
    }
    attempt(events);
  }

  /** Plays a mail and returns the report of {@link MtaSession#deliver}. */
  IPersistentMap deliver(Mail mail) throws IOException {
    script.beginMessage();
    boolean dead = failure != null;
    if (dead) {
      failedAt = EventType.MAIL;
    } else if (!script.dialogue().isSettled()) {
      List<IPersistentMap> events = events(mail);
      if (session.options().early()) {
        sayAhead(events);
      } else {
        attempt(events);
      }
      IPersistentMap refusal = session.options().style().refusal(mail);
      if (failure == null && refusal != null && script.dialogue().inMessage()) {
        script.hangUp(refusal);
      }
    }
    MtaDialogue dialogue = script.dialogue();
    IPersistentMap report = report(dialogue, !dead && dialogue.verdict() != null);
    if (failure == null && dialogue.endsWithAbort()) {
      report = aborted(report);
    }
    boolean forAll = dialogue.at() == EventType.CONNECT || dialogue.at() == EventType.HELLO;
    if (!(dialogue.isSettled() && forAll)) {
      exchanges = new ArrayList<>();
    }
    return report;
  }

  private IPersistentMap aborted(IPersistentMap report) throws IOException {
    attempt(List.of(EventCodec.event(EventType.ABORT)));
    return failure == null ? report : withFailure(report);
  }

  /** Says events up to the one at which the connection dies of a fault that was asked for. */
  private void attempt(List<IPersistentMap> events) throws IOException {
    for (IPersistentMap event : events) {
      if (!isAnswered(event, () -> script.playNext(event))) {
        return;
      }
    }
  }

  /** Sends events before the ones before them are answered. */
  private void sayAhead(List<IPersistentMap> events) throws IOException {
    for (IPersistentMap event : events) {
      try {
        session.sendAhead(event);
      } catch (IOException e) {
        if (!isFault(MtaSession.type(event), e)) {
          throw e;
        }
        return;
      }
    }
    for (IPersistentMap event : events) {
      if (!isAnswered(event, () -> script.readAnswer(event))) {
        return;
      }
    }
  }

  private interface Exchange {
    void run() throws IOException;
  }

  /** {@return false if the connection has died of a fault that was asked for} */
  private boolean isAnswered(IPersistentMap event, Exchange exchange) throws IOException {
    try {
      exchange.run();
      return true;
    } catch (IOException | MilterException e) {
      if (!isFault(MtaSession.type(event), e)) {
        throw e;
      }
      exchanges.add(Script.exchange(event, List.of()).assoc(Keys.NANOS, 0L));
      return false;
    }
  }

  /** {@return true if a fault that was asked for has ended the connection, at this event} */
  private boolean isFault(EventType at, Exception e) {
    if (session.options().faults().isEmpty() || session.isOpen()) {
      return false;
    }
    failedAt = at;
    failure = e;
    return true;
  }

  private List<IPersistentMap> events(Mail mail) {
    List<IPersistentMap> events = new ArrayList<>(MailEvents.envelope(mail));
    if (!mail.recipients().isEmpty()) {
      events.add(EventCodec.event(EventType.DATA));
      if (session.options().style().refusal(mail) == null) {
        events.addAll(MailEvents.content(mail, session));
      }
    }
    return events;
  }

  private IPersistentMap report(MtaDialogue dialogue, boolean decided) throws IOException {
    IPersistentMap recipients = PersistentArrayMap.EMPTY;
    List<IPersistentMap> modifications = List.of();
    List<Object> remarks = new ArrayList<>();
    List<IPersistentMap> conversation = new ArrayList<>();
    for (IPersistentMap exchange : exchanges) {
      IPersistentMap event = (IPersistentMap) exchange.valAt(Keys.EVENT);
      List<IPersistentMap> response = actions(exchange.valAt(Keys.RESPONSE));
      if (MtaSession.type(event) == EventType.RECIPIENT) {
        recipients = recipients.assoc(event.valAt(Keys.ADDRESS), last(response));
      } else if (MtaSession.type(event) == EventType.END_OF_MESSAGE) {
        modifications = joined(response);
      }
      if (exchange.valAt(Keys.REMARKS) instanceof List<?> found) {
        remarks.addAll(found);
      }
      if (exchange.containsKey(Keys.NANOS)) {
        conversation.add(exchange);
      }
    }
    session.checkSurplus(EventType.MESSAGE_END);
    remarks.addAll(session.takeRemarks());
    EventType open = failure == null ? EventType.DATA : failedAt;
    IPersistentMap report =
        new PersistentArrayMap(
            new Object[] {
              Keys.VERDICT,
              decided ? dialogue.verdict().keyword : undecided(),
              Keys.AT,
              (decided ? dialogue.at() : open).keyword,
              Keys.REPLY,
              decided ? dialogue.reply() : failure == null ? Action.proceed().map() : null,
              Keys.MODIFICATIONS,
              vector(modifications),
              Keys.RECIPIENTS,
              recipients,
              Keys.CONVERSATION,
              vector(conversation)
            });
    IPersistentMap remarked =
        remarks.isEmpty() ? report : report.assoc(Keys.REMARKS, vector(remarks));
    return failure == null ? remarked : withFailure(remarked);
  }

  private IPersistentMap withFailure(IPersistentMap report) {
    boolean byUs =
        failure instanceof FaultyWire.DroppedException
            || failure instanceof SocketTimeoutException
            || failure instanceof MilterException;
    return report
        .assoc(Keys.CLOSED_BY, byUs ? Keys.MTA : Keys.MILTER)
        .assoc(Keys.PROBLEM, failure.getMessage());
  }

  /** The MTA itself refuses the DATA of a client that has named no recipient. */
  private Keyword undecided() {
    return failure == null ? ActionType.REJECT.keyword : null;
  }

  private static IPersistentMap last(List<IPersistentMap> response) {
    IPersistentMap reply =
        response.isEmpty() ? Action.proceed().map() : response.get(response.size() - 1);
    return ActionCodec.type(reply) == ActionType.SKIP ? Action.proceed().map() : reply;
  }

  private static List<IPersistentMap> actions(Object response) {
    return ((List<?>) response).stream().map(IPersistentMap.class::cast).toList();
  }

  private static PersistentVector vector(Iterable<?> items) {
    return PersistentVector.create(items);
  }

  /** {@return the modifications with the pieces of a replaced body in one, and without progress} */
  private static List<IPersistentMap> joined(List<IPersistentMap> actions) {
    List<IPersistentMap> result = new ArrayList<>();
    ByteArrayOutputStream body = null;
    for (IPersistentMap action : actions) {
      ActionType type = ActionCodec.type(action);
      if (type == ActionType.CHANGE_BODY) {
        if (body == null) {
          body = new ByteArrayOutputStream();
          result.add(action);
        }
        body.writeBytes((byte[]) action.valAt(Keys.BODY));
      } else if (type.kind == ActionType.Kind.MODIFICATION) {
        result.add(action);
      }
    }
    if (body != null) {
      byte[] whole = body.toByteArray();
      result.replaceAll(
          action ->
              ActionCodec.type(action) == ActionType.CHANGE_BODY
                  ? Action.changeBody(whole).map()
                  : action);
    }
    return result;
  }
}
