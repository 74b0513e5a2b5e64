package temse.server.internal;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static temse.server.internal.DrivenEngine.BODY;
import static temse.server.internal.DrivenEngine.CONNECT;
import static temse.server.internal.DrivenEngine.DATA;
import static temse.server.internal.DrivenEngine.EOH;
import static temse.server.internal.DrivenEngine.EOM;
import static temse.server.internal.DrivenEngine.HEADER;
import static temse.server.internal.DrivenEngine.HELO;
import static temse.server.internal.DrivenEngine.MAIL;
import static temse.server.internal.DrivenEngine.OFFER;
import static temse.server.internal.DrivenEngine.RCPT;
import static temse.server.internal.DrivenEngine.offer;

import java.util.List;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;
import temse.protocol.Action;
import temse.protocol.Actions;
import temse.protocol.EventType;
import temse.server.EngineOptions;

/** Events that no answer is wanted to, agreed with the MTA or emulated. */
class NoReplyTest {
  /** Everything but the flags of silence. */
  private static final String WITHOUT_SILENCE = offer(6, 0x1FF, 0x1FFFFF & ~0xFF080);

  private final ScriptedHandler handler =
      ScriptedHandler.hearingAll().asking(wishes -> wishes.noReplyEvents(ScriptedHandler.ALL));

  private DrivenEngine negotiated(String offer) {
    return negotiated(offer, EngineOptions.DEFAULTS);
  }

  private DrivenEngine negotiated(String offer, EngineOptions options) {
    DrivenEngine mta = new DrivenEngine(handler, options);
    mta.say(offer);
    handler.heard();
    return mta;
  }

  @Test
  @Tag("F39")
  void agreedNoReplyEventsAreHeardAndNotAnswered() {
    handler.asking(wishes -> wishes.noReplyEvents(List.of(EventType.values())));
    DrivenEngine mta = negotiated(OFFER);

    assertEquals(List.of(), mta.say(CONNECT, HELO, MAIL, RCPT, DATA, "UFOO|", HEADER, EOH, BODY));
    assertEquals(9, handler.heard().size());
  }

  @Test
  @Tag("F8")
  void emulatedNoReplyEventsAreAnsweredWithContinue() {
    DrivenEngine mta = negotiated(WITHOUT_SILENCE);

    for (String packet : List.of(CONNECT, HELO, MAIL, RCPT, DATA, "UFOO|", HEADER, EOH, BODY)) {
      assertEquals(List.of("c"), mta.say(packet), packet);
    }
    assertEquals(9, handler.heard().size());
  }

  @ParameterizedTest
  @ValueSource(strings = {OFFER, "emulated"})
  void anAnswerAllTheSameIsReportedOncePerEventAndNotSent(String offered) {
    boolean agreed = offered.equals(OFFER);
    handler
        .answering(EventType.HEADER, Actions.reject())
        .answering(EventType.BODY, Actions.addHeader("X", "y"));
    DrivenEngine mta = negotiated(agreed ? OFFER : WITHOUT_SILENCE);
    mta.say(MAIL, RCPT);

    assertEquals(
        agreed ? List.of() : List.of("c", "c", "c", "c"), mta.say(HEADER, HEADER, BODY, BODY));
    assertEquals(List.of("failed HEADER REPLY_NOT_ALLOWED"), mta.reports());
    assertEquals(List.of("t"), mta.say(EOM), "the filter has contradicted itself");
    mta.say(MAIL, HEADER, EOM);
    assertEquals(List.of(), mta.reports(), "it is said once for each connection and event");
  }

  @Test
  void anAnswerToAnEventThatNeverHasOneIsReportedOnce() {
    handler.answering(EventType.ABORT, Actions.accept());
    DrivenEngine mta = negotiated(OFFER);

    assertEquals(List.of(), mta.say(MAIL, "A", MAIL, "A"));
    assertEquals(List.of("failed ABORT REPLY_NOT_ALLOWED"), mta.reports());
  }

  @Test
  void aContinueIsNoAnswerWorthAReport() {
    handler.answering(EventType.HEADER, Actions.proceed());
    DrivenEngine mta = negotiated(OFFER);

    assertEquals(List.of(), mta.say(MAIL, HEADER));
    assertEquals(List.of(), mta.reports());
  }

  @ParameterizedTest
  @ValueSource(strings = {OFFER, "emulated"})
  void aHandlerThatFailsThereDefersTheMessageAtItsEnd(String offered) {
    boolean agreed = offered.equals(OFFER);
    handler.failing(EventType.HEADER);
    DrivenEngine mta = negotiated(agreed ? OFFER : WITHOUT_SILENCE);
    mta.say(MAIL);
    handler.heard();

    assertEquals(agreed ? List.of() : List.of("c"), mta.say(HEADER));
    assertEquals(List.of("failed HEADER IllegalStateException"), mta.reports());
    assertEquals(List.of("header Subject#1=hi"), handler.heard());
    assertEquals(agreed ? List.of() : List.of("c"), mta.say(HEADER));
    assertEquals(List.of(), handler.heard(), "nothing more of the message is shown to it");
    assertEquals(List.of("t"), mta.say(EOM));
    assertEquals(
        List.of("error at end-of-message", "message-end deferred", "end of message"),
        handler.heard());

    handler.answering(EventType.HEADER);
    mta.say(MAIL, HEADER);
    assertEquals(List.of("c"), mta.say(EOM), "the next message is not concerned");
  }

  @Test
  void theDefaultReplyIsNotGivenToANoReplyEvent() {
    EngineOptions rejecting =
        EngineOptions.builder()
            .defaultReply(EventType.HEADER, Action.reject())
            .defaultReply(EventType.BODY, Action.reject())
            .build();
    DrivenEngine mta = negotiated(WITHOUT_SILENCE, rejecting);

    assertEquals(List.of("c", "c", "c"), mta.say(MAIL, HEADER, BODY));
    assertEquals(List.of("c"), mta.say("Elast"), "nor to the last piece of the body");
  }

  @Test
  @Tag("F55")
  void aSuppressedEventThatArrivesAnywayIsAnsweredWithContinue() {
    ScriptedHandler endOnly = ScriptedHandler.hearing(EventType.END_OF_MESSAGE);
    DrivenEngine mta = DrivenEngine.negotiated(endOnly);

    for (String packet : List.of(CONNECT, HELO, MAIL, RCPT, DATA, "UFOO|", HEADER, EOH, BODY)) {
      assertEquals(List.of("c"), mta.say(packet), packet);
    }
    assertEquals(List.of("c"), mta.say(EOM));
    assertEquals(List.of("end-of-message", "end of message"), endOnly.heard());
  }

  @Test
  @Tag("F39")
  void anEventThatCannotBeSuppressedIsSilencedInstead() {
    ScriptedHandler endOnly = ScriptedHandler.hearing(EventType.END_OF_MESSAGE);
    DrivenEngine mta = new DrivenEngine(endOnly);

    assertEquals(List.of(offer(6, 0, 0x80).replace('\0', '|')), mta.say(offer(6, 0x1FF, 0x80)));
    assertEquals(List.of("c"), mta.say(MAIL));
    assertEquals(List.of(), mta.say(HEADER));
  }

  @Test
  void aSettledMessageIsNotAnsweredWhereNoReplyIsDue() {
    ScriptedHandler mixed =
        ScriptedHandler.hearingAll()
            .asking(wishes -> wishes.noReplyEvents(List.of(EventType.HEADER)))
            .answering(EventType.RECIPIENT, Actions.accept());
    DrivenEngine mta = DrivenEngine.negotiated(mixed);

    assertEquals(List.of("c", "a"), mta.say(MAIL, RCPT));
    assertEquals(List.of(), mta.say(HEADER));
    assertEquals(List.of("a"), mta.say(BODY));
  }
}
