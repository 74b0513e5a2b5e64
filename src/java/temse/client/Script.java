package temse.client;

import clojure.lang.IPersistentMap;
import clojure.lang.PersistentArrayMap;
import clojure.lang.PersistentVector;
import java.io.IOException;
import java.util.List;
import java.util.function.Predicate;
import temse.client.AnswerReader.Answer;
import temse.protocol.EventCodec;
import temse.protocol.EventType;
import temse.protocol.Keys;
import temse.protocol.MilterException;
import temse.protocol.MtaDialogue;

/**
 * Plays events to a milter, those of a mail, a recording or a generator, and leaves out what the
 * MTA does not send after the milter's replies.
 *
 * <pre>{@code
 * Script script = new Script(session, exchange -> true);
 * script.play(List.of(connect, hello, quit));
 * }</pre>
 */
public final class Script {

  private final MtaSession session;
  private final Predicate<IPersistentMap> onExchange;
  private MtaDialogue dialogue;
  private boolean stopped;

  /**
   * Makes a script for a session on which nothing was sent.
   *
   * @param session used by nobody else
   * @param onExchange is given each exchange, {@code {:event :response}}, with {@code :nanos} where
   *     the milter has received the event, and with {@code :remarks} as {@link MtaSession#deliver}
   *     has them; nothing more is sent once it returns false
   */
  public Script(MtaSession session, Predicate<IPersistentMap> onExchange) {
    this.session = session;
    this.onExchange = onExchange;
    this.dialogue = session.options().style().dialogue;
  }

  /** Takes MAIL for something that the MTA sends though the events do not show it. */
  public void withoutMail() {
    dialogue = dialogue.withoutMail();
  }

  /** {@return where the dialogue stands} */
  public MtaDialogue dialogue() {
    return dialogue;
  }

  /** Forgets the verdict on the message before. */
  void beginMessage() {
    dialogue = dialogue.between();
  }

  /**
   * Plays events in turn. An event that ends a message and that the milter does not want is
   * preceded by ABORT.
   *
   * @param events maps as in {@code doc/spec.org}
   * @throws IOException if the milter closes the connection or does not answer in time
   * @throws MilterException UNEXPECTED_EVENT if no MTA sends an event there
   */
  public void play(Iterable<IPersistentMap> events) throws IOException {
    for (IPersistentMap event : events) {
      playNext(event);
    }
  }

  /**
   * Plays the header, the body and the end of a mail, as the MTA takes them in. Sendmail hangs up
   * instead on a client that sends a CR which ends no line.
   *
   * @param mail whose header and body are played
   * @throws IOException if the milter closes the connection or does not answer in time
   */
  public void playContent(Mail mail) throws IOException {
    IPersistentMap refusal = session.options().style().refusal(mail);
    if (refusal == null) {
      play(MailEvents.content(mail, session));
    } else if (dialogue.inMessage()) {
      hangUp(refusal);
    }
  }

  /** Plays an event, if it is due. */
  void playNext(IPersistentMap event) throws IOException {
    EventType type = MtaSession.type(event);
    if (dialogue.aborts(type) && !session.wanted(type)) {
      playNext(EventCodec.event(EventType.ABORT));
    }
    EventType about = about(type, event);
    if (stopped || !dialogue.may(about)) {
      dialogue = dialogue.leftOut(type);
      return;
    }
    if (type == EventType.QUIT || type == EventType.DISCONNECT && !session.wanted(type)) {
      session.close();
      dialogue = dialogue.closed();
      return;
    }
    dialogue.after(type, null);
    long start = System.nanoTime();
    Answer answer = exchange(event);
    long nanos = System.nanoTime() - start;
    advance(type, answer);
    if (type != about && about == EventType.MAIL) {
      dialogue = dialogue.macrosOfMail();
    }
    report(event, type, answer, nanos);
  }

  /** Nothing more is sent to a milter that has gone. */
  private Answer exchange(IPersistentMap event) throws IOException {
    try {
      return session.exchange(event);
    } catch (IOException e) {
      dialogue = dialogue.closed();
      throw e;
    }
  }

  /** Reads what answers an event that was sent before its turn. */
  void readAnswer(IPersistentMap event) throws IOException {
    if (!dialogue.isOver()) {
      EventType type = MtaSession.type(event);
      long start = System.nanoTime();
      Answer answer = session.answer(type);
      long nanos = System.nanoTime() - start;
      if (dialogue.may(type)) {
        advance(type, answer);
      }
      report(event, type, answer, nanos);
    }
  }

  /** Ends the connection, as the MTA itself has a reason to hang up on the client. */
  void hangUp(IPersistentMap reply) throws IOException {
    session.close();
    dialogue = dialogue.hungUp(EventType.END_OF_MESSAGE, reply);
  }

  /** {@return the type of the event that macros are for, or else that of the event} */
  private static EventType about(EventType type, IPersistentMap event) {
    EventType of =
        type == EventType.DEFINE_MACRO
            ? EventType.ofCode((byte) (char) event.valAt(Keys.COMMAND))
            : type;
    return of == null ? type : of;
  }

  private void advance(EventType type, Answer answer) throws IOException {
    dialogue = dialogue.after(type, answer.reply());
    if (dialogue.isOver()) {
      session.drop();
    } else if (dialogue.hangsUp()) {
      session.close();
      dialogue = dialogue.closed();
    }
  }

  private void report(IPersistentMap event, EventType type, Answer answer, long nanos) {
    IPersistentMap exchange = exchange(event, answer.actions());
    List<IPersistentMap> remarks = session.takeRemarks();
    if (!remarks.isEmpty()) {
      exchange = exchange.assoc(Keys.REMARKS, PersistentVector.create((Iterable<?>) remarks));
    }
    if (session.wanted(type)) {
      exchange = exchange.assoc(Keys.NANOS, nanos);
    }
    stopped |= !onExchange.test(exchange);
  }

  static IPersistentMap exchange(IPersistentMap event, List<IPersistentMap> response) {
    return new PersistentArrayMap(
        new Object[] {
          Keys.EVENT, event, Keys.RESPONSE, PersistentVector.create((Iterable<?>) response)
        });
  }
}
