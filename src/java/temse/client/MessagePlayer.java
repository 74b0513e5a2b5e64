package temse.client;

import clojure.lang.IPersistentMap;
import clojure.lang.Keyword;
import clojure.lang.PersistentArrayMap;
import clojure.lang.PersistentVector;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import temse.protocol.ActionCodec;
import temse.protocol.ActionType;
import temse.protocol.Actions;
import temse.protocol.EventCodec;
import temse.protocol.EventType;
import temse.protocol.Keys;
import temse.protocol.ProtocolFlag;

/** Plays one message to a milter, event by event, and keeps what came back. */
final class MessagePlayer {
  static final Keyword VERDICT = Keyword.intern("verdict");
  static final Keyword AT = Keyword.intern("at");
  static final Keyword REPLY = Keyword.intern("reply");
  static final Keyword MODIFICATIONS = Keyword.intern("modifications");
  private static final Keyword CONVERSATION = Keyword.intern("conversation");
  private static final Keyword RESPONSE = Keyword.intern("response");
  private static final Keyword NANOS = Keyword.intern("nanos");
  private static final int BODY_PIECE = 65535;

  private final MtaSession session;
  private final List<IPersistentMap> conversation = new ArrayList<>();
  private EventType at;
  private IPersistentMap reply = Actions.proceed();
  private List<IPersistentMap> modifications = List.of();
  private IPersistentMap recipientReplies = PersistentArrayMap.EMPTY;
  private EventType skipping;

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
    PersistentVector options = PersistentVector.create((Iterable<?>) mail.senderParameters());
    boolean sent =
        goesOn(EventCodec.event(EventType.MAIL, Keys.SENDER, mail.sender(), Keys.OPTIONS, options))
            && anyRecipient(mail)
            && goesOn(EventCodec.event(EventType.DATA))
            && headers(mail)
            && goesOn(EventCodec.event(EventType.END_OF_HEADERS))
            && body(mail)
            && goesOn(EventCodec.event(EventType.END_OF_MESSAGE));
    if (!sent && at == EventType.RECIPIENT && verdict() == ActionType.DISCARD
        || session.options().style() == MtaStyle.POSTFIX) {
      session.send(EventCodec.event(EventType.ABORT));
    }
  }

  /** Returns what became of the message. */
  IPersistentMap report() {
    ActionType verdict = verdict() == ActionType.CONTINUE ? ActionType.ACCEPT : verdict();
    return new PersistentArrayMap(
        new Object[] {
          VERDICT,
          verdict.keyword,
          AT,
          at.keyword,
          REPLY,
          reply,
          MODIFICATIONS,
          PersistentVector.create((Iterable<?>) joined(modifications)),
          Keys.RECIPIENTS,
          recipientReplies,
          CONVERSATION,
          PersistentVector.create((Iterable<?>) conversation)
        });
  }

  private boolean anyRecipient(Mail mail) throws IOException {
    boolean any = false;
    for (String recipient : mail.recipients()) {
      boolean taken =
          goesOn(
              EventCodec.event(
                  EventType.RECIPIENT,
                  Keys.ADDRESS,
                  recipient,
                  Keys.OPTIONS,
                  PersistentVector.EMPTY));
      recipientReplies = recipientReplies.assoc(recipient, reply);
      if (verdict() == ActionType.ACCEPT || verdict() == ActionType.DISCARD) {
        return false;
      }
      any |= taken;
    }
    if (any) {
      reply = Actions.proceed();
    }
    return any;
  }

  private boolean headers(Mail mail) throws IOException {
    boolean exact = session.agreed(ProtocolFlag.LEADING_SPACE);
    for (Mail.Field field : mail.headers()) {
      String value = exact ? field.raw() : field.value();
      if (!goesOn(EventCodec.event(EventType.HEADER, Keys.NAME, field.name(), Keys.VALUE, value))) {
        return false;
      }
    }
    return true;
  }

  private boolean body(Mail mail) throws IOException {
    byte[] body = mail.body();
    for (int from = 0; from < body.length; from += BODY_PIECE) {
      byte[] piece = Arrays.copyOfRange(body, from, Math.min(body.length, from + BODY_PIECE));
      if (!goesOn(EventCodec.event(EventType.BODY, Keys.DATA, piece))) {
        return false;
      }
    }
    return true;
  }

  /** Sends an event and returns true if the message goes on after its answer. */
  private boolean goesOn(IPersistentMap event) throws IOException {
    EventType type = EventType.ofKeyword(event.valAt(Keys.EVENT));
    if (!session.wanted(type)) {
      session.send(event);
    }
    if (!session.wanted(type) || type == skipping) {
      at = type == EventType.END_OF_MESSAGE ? type : at == null ? type : at;
      return true;
    }
    skipping = null;
    at = type;
    long start = System.nanoTime();
    List<IPersistentMap> response = session.send(event);
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
