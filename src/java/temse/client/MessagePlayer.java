package temse.client;

import clojure.lang.IPersistentMap;
import clojure.lang.Keyword;
import clojure.lang.PersistentArrayMap;
import clojure.lang.PersistentVector;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.net.SocketTimeoutException;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Deque;
import java.util.Iterator;
import java.util.List;
import temse.protocol.ActionCodec;
import temse.protocol.ActionType;
import temse.protocol.Actions;
import temse.protocol.EventCodec;
import temse.protocol.EventType;
import temse.protocol.Keys;
import temse.protocol.MilterException;
import temse.protocol.ProtocolFlag;

/** Plays one message to a milter, event by event, and keeps what came back. */
final class MessagePlayer {
  static final Keyword VERDICT = Keyword.intern("verdict");
  static final Keyword AT = Keyword.intern("at");
  static final Keyword REPLY = Keyword.intern("reply");
  static final Keyword MODIFICATIONS = Keyword.intern("modifications");
  private static final Keyword CLOSED_BY = Keyword.intern("closed-by");
  private static final Keyword MTA = Keyword.intern("mta");
  private static final Keyword MILTER = Keyword.intern("milter");
  private static final Keyword PROBLEM = Keyword.intern("problem");
  private static final Keyword CONVERSATION = Keyword.intern("conversation");
  private static final Keyword RESPONSE = Keyword.intern("response");
  private static final Keyword NANOS = Keyword.intern("nanos");
  private static final int BODY_PIECE = 65535;

  private final MtaSession session;
  private final List<IPersistentMap> conversation = new ArrayList<>();
  private final Deque<IPersistentMap> told = new ArrayDeque<>();
  private EventType at;
  private IPersistentMap reply = Actions.proceed();
  private List<IPersistentMap> modifications = List.of();
  private IPersistentMap recipientReplies = PersistentArrayMap.EMPTY;
  private EventType skipping;
  private boolean ahead;
  private Exception failure;
  private boolean cutShort;

  MessagePlayer(MtaSession session) {
    this(session, List.of());
  }

  /** Makes a player whose report begins with what was said before. */
  MessagePlayer(MtaSession session, List<IPersistentMap> opening) {
    this.session = session;
    this.conversation.addAll(opening);
  }

  List<IPersistentMap> conversation() {
    return conversation;
  }

  /** Plays the events that open an SMTP connection; returns false if the milter settled it. */
  boolean greet(IPersistentMap connect, String greeting) throws IOException {
    return goesOn(connect)
        && (greeting == null || goesOn(EventCodec.event(EventType.HELLO, Keys.GREETING, greeting)));
  }

  /** Plays the message, up to the reply that settles it. */
  void play(Mail mail) throws IOException {
    List<IPersistentMap> events = events(mail);
    if (session.options().early()) {
      tellAll(events);
    }
    boolean anyRecipient = false;
    boolean open = failure == null;
    for (Iterator<IPersistentMap> rest = events.iterator(); open && rest.hasNext(); ) {
      IPersistentMap event = rest.next();
      if (type(event) == EventType.RECIPIENT) {
        anyRecipient |= goesOn(event);
        open = failure == null && verdict() != ActionType.ACCEPT && verdict() != ActionType.DISCARD;
        if (failure == null) {
          recipientReplies = recipientReplies.assoc(event.valAt(Keys.ADDRESS), reply);
        }
      } else {
        open = (type(event) != EventType.DATA || anyRecipient) && goesOn(event);
      }
    }
    while (failure == null && !told.isEmpty()) {
      exchange(told.peek());
    }
    boolean discarded = at == EventType.RECIPIENT && verdict() == ActionType.DISCARD;
    if (failure == null && (discarded || session.options().style() == MtaStyle.POSTFIX)) {
      answer(EventCodec.event(EventType.ABORT));
    }
  }

  /** Returns what became of the message. */
  IPersistentMap report() {
    ActionType verdict = verdict() == ActionType.CONTINUE ? ActionType.ACCEPT : verdict();
    IPersistentMap report =
        new PersistentArrayMap(
            new Object[] {
              VERDICT,
              cutShort ? null : verdict.keyword,
              AT,
              at.keyword,
              REPLY,
              cutShort ? null : reply,
              MODIFICATIONS,
              PersistentVector.create((Iterable<?>) joined(modifications)),
              Keys.RECIPIENTS,
              recipientReplies,
              CONVERSATION,
              PersistentVector.create((Iterable<?>) conversation)
            });
    if (failure == null) {
      return report;
    }
    boolean byUs =
        failure instanceof FaultyWire.DroppedException
            || failure instanceof SocketTimeoutException
            || failure instanceof MilterException;
    return report.assoc(CLOSED_BY, byUs ? MTA : MILTER).assoc(PROBLEM, failure.getMessage());
  }

  private List<IPersistentMap> events(Mail mail) {
    List<IPersistentMap> events = new ArrayList<>();
    PersistentVector options = PersistentVector.create((Iterable<?>) mail.senderParameters());
    events.add(EventCodec.event(EventType.MAIL, Keys.SENDER, mail.sender(), Keys.OPTIONS, options));
    Iterator<List<String>> parameters = mail.recipientParameters().iterator();
    for (String recipient : mail.recipients()) {
      List<String> given = parameters.hasNext() ? parameters.next() : List.of();
      events.add(
          EventCodec.event(
              EventType.RECIPIENT,
              Keys.ADDRESS,
              recipient,
              Keys.OPTIONS,
              PersistentVector.create((Iterable<?>) given)));
    }
    events.add(EventCodec.event(EventType.DATA));
    boolean exact = session.agreed(ProtocolFlag.LEADING_SPACE);
    for (Mail.Field field : mail.headers()) {
      String value = exact ? field.raw() : field.value();
      events.add(EventCodec.event(EventType.HEADER, Keys.NAME, field.name(), Keys.VALUE, value));
    }
    events.add(EventCodec.event(EventType.END_OF_HEADERS));
    int start = 0;
    for (int cut : mail.cuts()) {
      addBody(events, mail.body(), start, cut);
      start = cut;
    }
    addBody(events, mail.body(), start, mail.body().length);
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

  /** Sends events before the ones before them are answered. */
  private void tellAll(List<IPersistentMap> events) throws IOException {
    ahead = true;
    for (IPersistentMap event : events) {
      try {
        session.tell(event);
      } catch (IOException e) {
        fail(e);
        cutShort(event);
        return;
      }
      if (session.wanted(type(event))) {
        told.add(event);
      }
    }
  }

  /** Sends an event and returns true if the message goes on after its answer. */
  private boolean goesOn(IPersistentMap event) throws IOException {
    EventType type = type(event);
    if (!session.wanted(type) && !ahead) {
      answer(event);
    }
    if (failure == null && (!session.wanted(type) || type == skipping && !ahead)) {
      at = type == EventType.END_OF_MESSAGE ? type : at == null ? type : at;
      return true;
    }
    List<IPersistentMap> response = failure == null ? exchange(event) : List.of();
    if (failure != null) {
      return cutShort(event);
    }
    skipping = null;
    at = type;
    reply = response.isEmpty() ? Actions.proceed() : response.get(response.size() - 1);
    if (type == EventType.END_OF_MESSAGE && !response.isEmpty()) {
      modifications = response.subList(0, response.size() - 1);
    }
    if (verdict() == ActionType.SKIP) {
      skipping = type;
      reply = Actions.proceed();
    }
    return verdict() == ActionType.CONTINUE;
  }

  /** Adds an event and its answer to the conversation. */
  private List<IPersistentMap> exchange(IPersistentMap event) throws IOException {
    long start = System.nanoTime();
    List<IPersistentMap> response = answer(event);
    conversation.add(
        new PersistentArrayMap(
            new Object[] {
              Keys.EVENT,
              event,
              RESPONSE,
              PersistentVector.create((Iterable<?>) response),
              NANOS,
              System.nanoTime() - start
            }));
    return response;
  }

  /** Returns what answers an event, which is sent unless it was before. */
  private List<IPersistentMap> answer(IPersistentMap event) throws IOException {
    try {
      if (told.peek() == event) {
        told.remove();
        return session.answer(type(event));
      }
      return session.send(event);
    } catch (IOException e) {
      fail(e);
    } catch (MilterException e) {
      fail(e);
    }
    return List.of();
  }

  /** Throws the exception on unless it ended the connection, and faults were asked for. */
  private <E extends Exception> void fail(E e) throws E {
    if (session.options().faults().isEmpty() || session.isOpen()) {
      throw e;
    }
    failure = e;
  }

  /** Leaves the message without a verdict. */
  private boolean cutShort(IPersistentMap event) {
    cutShort = true;
    at = type(event);
    return false;
  }

  private static EventType type(IPersistentMap event) {
    return EventType.ofKeyword(event.valAt(Keys.EVENT));
  }

  private ActionType verdict() {
    return ActionCodec.verdict(reply);
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
                  ? Actions.changeBody(whole)
                  : action);
    }
    return result;
  }
}
