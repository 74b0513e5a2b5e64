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
import static temse.server.internal.DrivenEngine.QUIT;
import static temse.server.internal.DrivenEngine.QUIT_NC;
import static temse.server.internal.DrivenEngine.RCPT;

import clojure.lang.IPersistentMap;
import java.util.ArrayList;
import java.util.List;
import java.util.stream.Stream;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.MethodSource;
import org.junit.jupiter.params.provider.ValueSource;
import temse.protocol.Actions;
import temse.protocol.EventType;
import temse.transport.internal.Conversation.End;
import temse.transport.internal.Conversation.Wish;

/** What begins and ends messages and SMTP clients, and who hears of it how often. */
class MessageLifeTest {
  private static final List<String> CONTENT = List.of(MAIL, RCPT, DATA, HEADER, EOH, BODY, EOM);

  private static final String[] LOST = {
    "abort", "message-end lost", "end of message", "disconnect connection-lost", "end of client"
  };

  private final ScriptedHandler handler = ScriptedHandler.hearingAll();
  private final DrivenEngine mta = DrivenEngine.negotiated(handler);

  private List<String> after(String... packets) {
    mta.say(packets);
    return handler.heard();
  }

  private static List<String> ends(String reason) {
    return List.of("message-end " + reason, "end of message");
  }

  /** Every event of a message with every verdict that ends the message there. */
  static Stream<Arguments> verdicts() {
    List<Arguments> rows = new ArrayList<>();
    for (String packet : CONTENT) {
      EventType type = EventType.ofCode((byte) packet.charAt(0));
      rows.add(Arguments.of(type, Actions.accept(), "a", "accepted"));
      rows.add(Arguments.of(type, Actions.discard(), "d", "discarded"));
      if (type != EventType.RECIPIENT) {
        rows.add(Arguments.of(type, Actions.reject(), "r", "rejected"));
        rows.add(Arguments.of(type, Actions.temporaryFailure(), "t", "deferred"));
        rows.add(
            Arguments.of(
                type, Actions.replyCode(550, "5.7.1", "no"), "y550 5.7.1 no|", "rejected"));
        rows.add(
            Arguments.of(type, Actions.replyCode(451, null, "later"), "y451 later|", "deferred"));
        rows.add(
            Arguments.of(
                type,
                Actions.shutdown(),
                "y421 4.7.0 Service not available, closing transmission channel|",
                "deferred"));
      }
    }
    return rows.stream();
  }

  @ParameterizedTest
  @MethodSource("verdicts")
  @Tag("F35")
  void aVerdictEndsTheMessageOnceAndTheNextMessageIsServed(
      EventType at, IPersistentMap verdict, String wire, String reason) {
    handler.answering(at, verdict);
    int index = 0;
    while (CONTENT.get(index).charAt(0) != at.code) {
      assertEquals(List.of("c"), mta.say(CONTENT.get(index++)));
    }
    handler.heard();

    assertEquals(List.of(wire), mta.say(CONTENT.get(index)));
    List<String> heard = handler.heard();
    assertEquals(ends(reason), heard.subList(1, heard.size()));

    handler.answering(at);
    assertEquals(List.of(), mta.say(ABORT), "an abort after the verdict has no answer");
    assertEquals(List.of(), handler.heard(), "and nobody hears of it");
    for (String packet : CONTENT) {
      assertEquals(List.of("c"), mta.say(packet));
    }
    assertEquals(ends("accepted"), handler.heard().subList(7, 9));
  }

  @ParameterizedTest
  @MethodSource("verdicts")
  void contentAfterAVerdictIsAnsweredWithTheVerdictAgainAndHeardByNobody(
      EventType at, IPersistentMap verdict, String wire, String reason) {
    if (at == EventType.END_OF_MESSAGE) {
      return;
    }
    handler.answering(at, verdict);
    int index = 0;
    while (CONTENT.get(index).charAt(0) != at.code) {
      mta.say(CONTENT.get(index++));
    }
    mta.say(CONTENT.get(index++));
    handler.heard();

    for (String packet : CONTENT.subList(index, CONTENT.size())) {
      assertEquals(List.of(wire), mta.say(packet));
    }
    assertEquals(List.of(), handler.heard());
    assertEquals(List.of(), mta.reports());
  }

  @Test
  @Tag("F36")
  void aRefusedRecipientLeavesTheMessageOpen() {
    for (IPersistentMap refusal :
        List.of(Actions.reject(), Actions.temporaryFailure(), Actions.replyCode(550, null, "no"))) {
      mta.say(MAIL);
      handler.answering(EventType.RECIPIENT, refusal);
      assertEquals(1, mta.say(RCPT).size());
      handler.answering(EventType.RECIPIENT);
      assertEquals(List.of("c"), mta.say(RCPT));
      handler.heard();
      assertEquals(List.of("c"), mta.say(EOM));
      assertEquals(
          List.of("end-of-message", "message-end accepted", "end of message"), handler.heard());
    }
  }

  @Test
  @Tag("F26")
  void anAbortOutsideAMessageIsIgnored() {
    assertEquals(List.of(), mta.say(ABORT));
    assertEquals(List.of("c"), mta.say(CONNECT));
    handler.heard();
    assertEquals(List.of(), mta.say(ABORT, ABORT));
    assertEquals(List.of(), handler.heard());
    assertEquals(Wish.READ, mta.wish());
  }

  @ParameterizedTest
  @ValueSource(ints = {1, 2, 3, 4, 5, 6})
  @Tag("F26")
  void anAbortInsideAMessageEndsItWithoutAnAnswer(int length) {
    mta.say(CONTENT.subList(0, length).toArray(String[]::new));
    handler.heard();

    assertEquals(List.of(), mta.say(ABORT));
    assertEquals(List.of("abort", "message-end aborted", "end of message"), handler.heard());
  }

  @Test
  @Tag("F27")
  void threeAbortsInARowAreOne() {
    mta.say(MAIL);
    handler.heard();

    assertEquals(
        List.of("abort", "message-end aborted", "end of message"), after(ABORT, ABORT, ABORT));
  }

  @Test
  @Tag("F28")
  void anAbortAfterTheEndOfAMessageIsNotHeard() {
    mta.say(MAIL, RCPT, EOM);
    handler.heard();

    assertEquals(List.of(), after(ABORT, ABORT));
  }

  @Test
  @Tag("F29")
  void quitIsNotAnsweredAndClosesTheConnection() {
    mta.say(CONNECT, HELO);
    handler.heard();

    assertEquals(List.of(), mta.say(QUIT));
    assertTrue(mta.isClosed());
    assertEquals(List.of("quit", "disconnect quit", "end of client"), handler.heard());
    assertEquals(List.of("closed"), mta.reports());
  }

  @Test
  @Tag("F29")
  void quitInsideAMessageAbortsItFirst() {
    mta.say(CONNECT, MAIL);
    handler.heard();

    assertEquals(
        List.of(
            "abort",
            "message-end aborted",
            "end of message",
            "quit",
            "disconnect quit",
            "end of client"),
        after(QUIT));
  }

  @ParameterizedTest
  @ValueSource(ints = {1, 2, 3, 4, 5, 6})
  @Tag("F30")
  void theEndOfTheStreamInsideAMessageLosesIt(int length) {
    mta.say(CONTENT.subList(0, length).toArray(String[]::new));
    handler.heard();

    mta.hangUp();
    assertEquals(List.of(LOST), handler.heard());
    assertEquals(List.of("closed"), mta.reports());
  }

  @Test
  void theEndOfTheStreamAfterAVerdictLosesNoMessage() {
    handler.answering(EventType.MAIL, Actions.reject());
    mta.say(MAIL);
    handler.heard();

    mta.hangUp();
    assertEquals(List.of("disconnect connection-lost", "end of client"), handler.heard());
  }

  @Test
  void theEndOfTheStreamInsideAPacketLosesTheMessage() {
    mta.say(MAIL);
    mta.feed(new byte[] {0, 0, 1});
    handler.heard();

    mta.hangUp();
    assertEquals(List.of(LOST), handler.heard());
  }

  @Test
  void aConnectionThatEndsBeforeTheOfferIsNobodysBusiness() {
    ScriptedHandler unasked = ScriptedHandler.hearingAll();
    DrivenEngine silent = new DrivenEngine(unasked);

    silent.hangUp();
    assertEquals(List.of(), unasked.heard());
    assertEquals(List.of("closed: no byte"), silent.reports());
  }

  @Test
  void theEndAfterTheNegotiationAloneIsADisconnect() {
    mta.hangUp();
    assertEquals(List.of("disconnect connection-lost", "end of client"), handler.heard());
  }

  @Test
  @Tag("F31")
  void anotherClientMayFollowOnTheSameConnection() {
    mta.say(CONNECT, HELO, MAIL, RCPT, EOM);
    handler.heard();

    assertEquals(List.of(), mta.say(QUIT_NC));
    assertFalse(mta.isClosed());
    assertEquals(List.of("disconnect new-connection", "end of client"), handler.heard());

    assertEquals(List.of("c", "c", "c"), mta.say(CONNECT, HELO, MAIL));
    handler.heard();
    assertEquals(
        List.of(
            "abort",
            "message-end aborted",
            "end of message",
            "disconnect new-connection",
            "end of client"),
        after(QUIT_NC));
    mta.hangUp();
    assertEquals(List.of(), handler.heard(), "the second client was gone already");
  }

  @Test
  @Tag("F31")
  void twoQuitsWithoutClosingAreOneDisconnect() {
    mta.say(CONNECT);
    handler.heard();

    assertEquals(List.of("disconnect new-connection", "end of client"), after(QUIT_NC, QUIT_NC));
    assertEquals(List.of("quit"), after(QUIT));
  }

  @Test
  @Tag("F32")
  void aSecondMessageBeginsClean() {
    mta.say(CONNECT, HELO, MAIL, RCPT, HEADER, HEADER, EOM);
    handler.heard();

    assertEquals(
        List.of(
            "mail <a@example.org>",
            "recipient <b@example.com>",
            "header Subject#1=hi",
            "header subject#2=ho"),
        after(MAIL, RCPT, HEADER, "Lsubject|ho|"));
  }

  @Test
  @Tag("F33")
  void mailInsideAMessageAbortsItAndBeginsAnother() {
    mta.say(MAIL, RCPT, HEADER);
    handler.heard();

    assertEquals(List.of("c"), mta.say("M<c@example.org>|"));
    assertEquals(
        List.of("abort", "message-end aborted", "end of message", "mail <c@example.org>"),
        handler.heard());
    assertEquals(List.of("header Subject#1=hi"), after(HEADER));
  }

  @Test
  @Tag("F34")
  void helloInsideAMessageAbortsItAndIsAnswered() {
    mta.say(CONNECT, HELO, MAIL, RCPT);
    handler.heard();

    assertEquals(List.of("c"), mta.say(HELO));
    assertEquals(
        List.of("abort", "message-end aborted", "end of message", "hello client.example.org"),
        handler.heard());
  }

  @Test
  void anUnknownCommandDoesNotDisturbTheMessage() {
    mta.say(MAIL, RCPT);
    handler.answering(EventType.UNKNOWN, Actions.reject());
    handler.heard();

    assertEquals(List.of("r", "c"), mta.say("UFOO bar|", EOM));
    assertEquals(
        List.of("unknown FOO bar", "end-of-message", "message-end accepted", "end of message"),
        handler.heard());
  }

  @ParameterizedTest
  @ValueSource(strings = {RCPT, DATA, HEADER, EOH, BODY, EOM})
  void contentOutsideAMessageClosesTheConnection(String packet) {
    mta.say(CONNECT, HELO);
    handler.heard();

    assertEquals(List.of(), mta.say(packet));
    assertTrue(mta.isClosed());
    assertEquals(List.of("disconnect error", "end of client"), handler.heard());
    assertEquals(List.of("violated UNEXPECTED_EVENT", "closed UNEXPECTED_EVENT"), mta.reports());
  }

  @Test
  void aMessageWithoutItsOptionalPartsIsServed() {
    assertEquals(List.of("c", "c"), mta.say(MAIL, EOM));
    assertEquals(List.of("c", "c", "c", "c"), mta.say(MAIL, RCPT, BODY, EOM));
    assertEquals(List.of("c", "c", "c", "c"), mta.say(MAIL, RCPT, HEADER, EOM));
    assertEquals(List.of("c", "c", "c", "c"), mta.say(MAIL, RCPT, "B", EOM));
  }

  @Test
  void aSettledConnectionIsAnsweredTheSameToTheEnd() {
    handler.answering(EventType.CONNECT, Actions.replyCode(554, "5.7.1", "no"));
    assertEquals(List.of("y554 5.7.1 no|"), mta.say(CONNECT));
    handler.heard();

    for (String packet : List.of(HELO, MAIL, RCPT, DATA, HEADER, EOH, BODY, EOM)) {
      assertEquals(List.of("y554 5.7.1 no|"), mta.say(packet), packet);
    }
    assertEquals(List.of("c"), mta.say("UFOO|"), "an unknown command is not the connection");
    assertEquals(List.of("quit", "disconnect quit", "end of client"), after(ABORT, QUIT));
  }

  @Test
  void aMalformedMailBeginsNoMessage() {
    mta.say(CONNECT);
    handler.heard();

    assertEquals(List.of("disconnect error", "end of client"), after("M<no-end"));
  }

  @Test
  void aMalformedMailInsideAMessageAbortsThatMessageOnce() {
    mta.say(CONNECT, MAIL);
    handler.heard();

    assertEquals(
        List.of(
            "abort", "message-end aborted", "end of message", "disconnect error", "end of client"),
        after("M<no-end"));
  }

  @Test
  void withoutMailAMessageBeginsWithWhatIsWanted() {
    ScriptedHandler headers =
        ScriptedHandler.hearing(EventType.HEADER, EventType.ABORT, EventType.END_OF_MESSAGE);
    DrivenEngine quiet = DrivenEngine.negotiated(headers);

    assertEquals(List.of("c", "c"), quiet.say(HEADER, EOM));
    assertEquals(List.of("c"), quiet.say(HEADER));
    quiet.say(ABORT);
    assertEquals(
        List.of(
            "header Subject#1=hi",
            "end-of-message",
            "end of message",
            "header Subject#1=hi",
            "abort",
            "end of message"),
        headers.heard());
  }

  @Test
  void messageEndIsHeardEvenIfNothingElseIs() {
    ScriptedHandler last = ScriptedHandler.hearing(EventType.MESSAGE_END);
    DrivenEngine quiet = DrivenEngine.negotiated(last);

    assertEquals(List.of("c"), quiet.say(MAIL, EOM));
    assertEquals(ends("accepted"), last.heard());
    quiet.say(MAIL);
    quiet.hangUp();
    assertEquals(List.of("message-end lost", "end of message", "end of client"), last.heard());
  }

  @ParameterizedTest
  @EnumSource(End.class)
  void whateverEndsTheConnectionEndsMessageAndClientOnce(End how) {
    mta.say(CONNECT, MAIL, RCPT);
    handler.heard();

    mta.end(how);
    String reason = how == End.STOPPED ? "stopping" : "connection-lost";
    assertEquals(
        List.of(
            "abort", "message-end lost", "end of message", "disconnect " + reason, "end of client"),
        handler.heard());
  }

  @Test
  void handlersThatFailAtTheEndAreReportedAndTheRestIsToldAllTheSame() {
    handler.failing(EventType.ABORT, EventType.MESSAGE_END, EventType.DISCONNECT);
    mta.say(MAIL);
    handler.heard();

    mta.hangUp();
    assertEquals(List.of(LOST), handler.heard());
    assertEquals(
        List.of(
            "failed ABORT IllegalStateException",
            "failed MESSAGE_END IllegalStateException",
            "failed DISCONNECT IllegalStateException",
            "closed"),
        mta.reports());
  }
}
