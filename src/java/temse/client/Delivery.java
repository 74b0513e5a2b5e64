package temse.client;

import clojure.lang.IPersistentMap;
import clojure.lang.Keyword;
import clojure.lang.PersistentArrayMap;
import clojure.lang.PersistentVector;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.net.SocketTimeoutException;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Iterator;
import java.util.List;
import temse.protocol.Action;
import temse.protocol.ActionCodec;
import temse.protocol.ActionType;
import temse.protocol.EventCodec;
import temse.protocol.EventType;
import temse.protocol.Keys;
import temse.protocol.MilterException;
import temse.protocol.MtaDialogue;
import temse.protocol.ProtocolFlag;

/** Plays the mails of one SMTP client to a milter, and reports what it makes of each. */
final class Delivery {
  private static final int BODY_PIECE = 65535;

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
      if (!isAnswered(event, () -> script.sayNext(event))) {
        return;
      }
    }
  }

  /** Sends events before the ones before them are answered. */
  private void sayAhead(List<IPersistentMap> events) throws IOException {
    for (IPersistentMap event : events) {
      try {
        session.tell(event);
      } catch (IOException e) {
        if (!isFault(MtaSession.type(event), e)) {
          throw e;
        }
        return;
      }
    }
    for (IPersistentMap event : events) {
      if (!isAnswered(event, () -> script.hear(event))) {
        return;
      }
    }
  }

  private interface Exchange {
    void run() throws IOException;
  }

  /** Returns false if the connection has died of a fault that was asked for. */
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

  /** Returns true if a fault that was asked for has ended the connection, at this event. */
  private boolean isFault(EventType at, Exception e) {
    if (session.options().faults().isEmpty() || session.isOpen()) {
      return false;
    }
    failedAt = at;
    failure = e;
    return true;
  }

  private List<IPersistentMap> events(Mail mail) {
    List<IPersistentMap> events = new ArrayList<>();
    PersistentVector options = vector(mail.senderParameters());
    events.add(EventCodec.event(EventType.MAIL, Keys.SENDER, mail.sender(), Keys.OPTIONS, options));
    Iterator<List<String>> parameters = mail.recipientParameters().iterator();
    for (String recipient : mail.recipients()) {
      List<String> given = parameters.hasNext() ? parameters.next() : List.of();
      events.add(
          EventCodec.event(
              EventType.RECIPIENT, Keys.ADDRESS, recipient, Keys.OPTIONS, vector(given)));
    }
    if (mail.recipients().isEmpty()) {
      return events;
    }
    events.add(EventCodec.event(EventType.DATA));
    MtaStyle style = session.options().style();
    if (style.refusal(mail) != null) {
      return events;
    }
    boolean exact = session.agreed(ProtocolFlag.LEADING_SPACE);
    for (Mail.Field field : mail.headers()) {
      String raw = style.received(field.name(), field.raw());
      String value = exact ? raw : new Mail.Field(field.name(), raw).value();
      events.add(EventCodec.event(EventType.HEADER, Keys.NAME, field.name(), Keys.VALUE, value));
    }
    events.add(EventCodec.event(EventType.END_OF_HEADERS));
    byte[] body = style.received(mail.body());
    int start = 0;
    for (int cut : mail.cuts()) {
      int end = Math.min(cut, body.length);
      addBody(events, body, start, end);
      start = end;
    }
    addBody(events, body, start, body.length);
    events.add(EventCodec.event(EventType.END_OF_MESSAGE));
    return events;
  }

  /** Adds the events of a part of a body, cut where a packet ends. */
  private static void addBody(List<IPersistentMap> events, byte[] body, int start, int end) {
    for (int from = start; from < end; from += BODY_PIECE) {
      byte[] piece = Arrays.copyOfRange(body, from, Math.min(end, from + BODY_PIECE));
      events.add(EventCodec.event(EventType.BODY, Keys.DATA, piece));
    }
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

  /** Returns the modifications with the pieces of a replaced body in one, and without progress. */
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
