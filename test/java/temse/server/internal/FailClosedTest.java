package temse.server.internal;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static temse.server.internal.DrivenEngine.ABORT;
import static temse.server.internal.DrivenEngine.BODY;
import static temse.server.internal.DrivenEngine.CONNECT;
import static temse.server.internal.DrivenEngine.DATA;
import static temse.server.internal.DrivenEngine.EOH;
import static temse.server.internal.DrivenEngine.EOM;
import static temse.server.internal.DrivenEngine.HEADER;
import static temse.server.internal.DrivenEngine.HELO;
import static temse.server.internal.DrivenEngine.MAIL;
import static temse.server.internal.DrivenEngine.QUIT_NC;
import static temse.server.internal.DrivenEngine.RCPT;
import static temse.server.internal.DrivenEngine.offer;

import java.util.List;
import java.util.concurrent.atomic.AtomicInteger;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.ValueSource;
import temse.protocol.Action;
import temse.protocol.Actions;
import temse.protocol.EventType;
import temse.server.EngineOptions;
import temse.transport.internal.Conversation.Wish;

/** What the filter has not seen does not pass, unless the error policy says so. */
class FailClosedTest {
  private static final String UNKNOWN = "Ufoo|";

  /** Returns a handler of all events that only watches these. */
  private static ScriptedHandler watching(EventType... events) {
    return ScriptedHandler.hearingAll().asking(wishes -> wishes.noReplyEvents(List.of(events)));
  }

  @ParameterizedTest
  @EnumSource(names = {"MAIL", "RECIPIENT", "DATA", "HEADER", "END_OF_HEADERS", "BODY"})
  void aWatcherThatFailsDefersTheMessageWhicheverItWatches(EventType watched) {
    ScriptedHandler handler = watching(EventType.values()).failing(watched);
    DrivenEngine mta = DrivenEngine.negotiated(handler);

    assertEquals(List.of("t"), mta.say(MAIL, RCPT, DATA, HEADER, EOH, BODY, EOM));
    handler.on(watched, (event, connection) -> null);
    assertEquals(List.of("c"), mta.say(MAIL, RCPT, DATA, HEADER, EOH, BODY, EOM));
  }

  @ParameterizedTest
  @EnumSource(names = {"MAIL", "RECIPIENT", "DATA", "HEADER", "END_OF_HEADERS", "BODY"})
  void aWatcherThatAnswersDefersTheMessageSinceItsAnswerCannotBeGiven(EventType watched) {
    ScriptedHandler handler = watching(EventType.values()).answering(watched, Actions.reject());
    DrivenEngine mta = DrivenEngine.negotiated(handler);

    for (int message = 0; message < 3; message++) {
      assertEquals(List.of("t"), mta.say(MAIL, RCPT, DATA, HEADER, EOH, BODY, EOM));
    }
  }

  @Test
  void noHandlerOfTheMessageIsCalledAfterAFaultButThoseOfItsEnd() {
    ScriptedHandler handler = watching(EventType.MAIL).failing(EventType.MAIL);
    DrivenEngine mta = DrivenEngine.negotiated(handler);

    assertEquals(List.of("t", "t"), mta.say(MAIL, RCPT, DATA));
    assertEquals(
        List.of(
            "mail <a@example.org>",
            "error at recipient",
            "error at data",
            "message-end deferred",
            "end of message"),
        handler.heard());
  }

  @Test
  void aFaultIsDecidedWhereTheMtaHearsOfItNotAtAnEventThatOwesNoReply() {
    ScriptedHandler handler =
        ScriptedHandler.hearing(EventType.MAIL, EventType.END_OF_MESSAGE)
            .asking(wishes -> wishes.noReplyEvents(List.of(EventType.MAIL)))
            .failing(EventType.MAIL);
    DrivenEngine mta = new DrivenEngine(handler, EngineOptions.DEFAULTS);
    mta.say(offer(6, 0x1FF, 0xFF080));
    handler.heard();

    assertEquals(List.of("t"), mta.say(MAIL, RCPT, DATA, HEADER, EOH, BODY, EOM));
    assertEquals(
        List.of("mail <a@example.org>", "error at end-of-message", "end of message"),
        handler.heard());
  }

  @Test
  void anUnknownCommandThatFailsMeanwhileDecidesNothingAboutTheMessage() {
    ScriptedHandler handler = watching(EventType.MAIL).failing(EventType.MAIL, EventType.UNKNOWN);
    DrivenEngine mta = DrivenEngine.negotiated(handler);

    assertEquals(List.of("t"), mta.say(MAIL, UNKNOWN));
    assertEquals(List.of("t"), mta.say(RCPT));
    assertEquals(List.of("t"), mta.say(EOM));
  }

  @Test
  void anUnknownCommandThatFailsInAMessageDoesNotHideAFaultOfTheClient() {
    ScriptedHandler handler =
        watching(EventType.CONNECT).failing(EventType.CONNECT, EventType.UNKNOWN);
    DrivenEngine mta = DrivenEngine.negotiated(handler);
    mta.say(CONNECT);
    assertEquals(List.of("t"), mta.say(UNKNOWN));
    assertEquals(List.of("t"), mta.say(MAIL));
    mta.say(ABORT);

    handler.onError((event, connection) -> List.of());
    assertEquals(List.of("c", "c"), mta.say(MAIL, UNKNOWN));
  }

  @Test
  void aFaultOfTheClientAfterADecisionIsDecidedAnew() {
    AtomicInteger decisions = new AtomicInteger();
    ScriptedHandler handler =
        ScriptedHandler.hearingAll()
            .asking(wishes -> wishes.events(EventType.DEFINE_MACRO))
            .failing(EventType.MAIL, EventType.DEFINE_MACRO)
            .onError(
                (event, connection) ->
                    decisions.getAndIncrement() == 0
                        ? List.of()
                        : List.of(Actions.temporaryFailure()));
    DrivenEngine mta = DrivenEngine.negotiated(handler);

    assertEquals(List.of("c"), mta.say(MAIL));
    assertEquals(List.of("t"), mta.say("DR{rcpt_addr}|b|", RCPT));
    assertEquals(List.of("t"), mta.say(EOM));
    assertEquals(3, decisions.get());
  }

  @Test
  void aFaultOfTheClientConcernsEachOfItsMessagesAndNoOtherClient() {
    ScriptedHandler handler = watching(EventType.HELLO).failing(EventType.HELLO);
    DrivenEngine mta = DrivenEngine.negotiated(handler);

    assertEquals(List.of("c", "t", "t"), mta.say(CONNECT, HELO, MAIL, MAIL));
    handler.on(EventType.HELLO, (event, connection) -> null);
    assertEquals(List.of("c", "c", "c"), mta.say(QUIT_NC, CONNECT, HELO, MAIL, EOM));
  }

  @Test
  void aFailureAtTheEndOfOneMessageDoesNotTaintTheNext() {
    ScriptedHandler handler =
        ScriptedHandler.hearingAll().failing(EventType.ABORT, EventType.MESSAGE_END);
    DrivenEngine mta = DrivenEngine.negotiated(handler);

    assertEquals(List.of("c", "c", "c", "c"), mta.say(MAIL, RCPT, MAIL, EOM));
    assertEquals(
        List.of(
            "failed ABORT IllegalStateException",
            "failed MESSAGE_END IllegalStateException",
            "failed MESSAGE_END IllegalStateException"),
        mta.reports());
  }

  @Test
  void theErrorPolicyMayLetAFaultPass() {
    ScriptedHandler handler =
        watching(EventType.HEADER)
            .failing(EventType.HEADER)
            .onError((event, connection) -> List.of());
    DrivenEngine mta = DrivenEngine.negotiated(handler);

    assertEquals(List.of("c", "c", "c"), mta.say(MAIL, HEADER, EOH, EOM));
    assertEquals(
        List.of(
            "mail <a@example.org>",
            "header Subject#1=hi",
            "error at end-of-headers",
            "end-of-message",
            "message-end accepted",
            "end of message"),
        handler.heard());
  }

  @Test
  void aReplyByDefaultDoesNotCoverAFault() {
    ScriptedHandler handler =
        ScriptedHandler.hearing(EventType.HEADER)
            .asking(wishes -> wishes.noReplyEvents(List.of(EventType.HEADER)))
            .failing(EventType.HEADER);
    DrivenEngine mta =
        DrivenEngine.negotiated(
            handler,
            EngineOptions.builder()
                .defaultReply(EventType.END_OF_MESSAGE, Action.accept())
                .build());

    assertEquals(List.of("t"), mta.say(HEADER, EOM));
  }

  // ---- limits

  @ParameterizedTest
  @ValueSource(strings = {"RECIPIENT", "HEADER"})
  void whatGoesBeyondALimitAndIsMalformedBesidesClosesTheConnection(String what) {
    EventType type = EventType.valueOf(what);
    String malformed = type == EventType.HEADER ? "Lno value" : "Rno end";
    ScriptedHandler handler = ScriptedHandler.hearingAll();
    DrivenEngine mta =
        DrivenEngine.negotiated(
            handler, EngineOptions.builder().maximumRecipients(1).maximumHeaderFields(1).build());
    mta.say(MAIL, RCPT, HEADER);

    if (type == EventType.RECIPIENT) {
      mta.say(ABORT, MAIL, RCPT);
    }
    mta.say(malformed);
    assertTrue(mta.isClosed());
    assertFalse(mta.link.isInside());
    assertEquals(List.of("violated MALFORMED_PACKET", "closed MALFORMED_PACKET"), mta.reports());
  }

  @Test
  void whereNoThreadIsFreeForAHandlerOnlyThatEventIsDeferred() {
    ScriptedHandler handler = ScriptedHandler.hearingAll();
    DrivenEngine mta = DrivenEngine.negotiated(handler);
    mta.say(MAIL);
    handler.heard();
    mta.link.refuse(entry -> true);
    java.nio.ByteBuffer rcpt = java.nio.ByteBuffer.wrap(DrivenEngine.bytes(RCPT));
    assertEquals(Wish.MOVE, mta.engine.receive(rcpt, 0));

    assertEquals(Wish.MOVE, mta.engine.starved(0), "the report of it waits for a thread");
    assertEquals(List.of("t"), mta.replies());
    assertEquals(List.of(), handler.heard());
  }
}
