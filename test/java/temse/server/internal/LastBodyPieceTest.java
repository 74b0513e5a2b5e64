package temse.server.internal;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static temse.server.internal.DrivenEngine.BODY;
import static temse.server.internal.DrivenEngine.MAIL;
import static temse.server.internal.DrivenEngine.RCPT;

import clojure.lang.IPersistentMap;
import clojure.lang.Keyword;
import java.util.List;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;
import temse.protocol.Actions;
import temse.protocol.EventType;
import temse.protocol.Keys;

/** Ends of messages that carry the last piece of the body. */
class LastBodyPieceTest {
  private final ScriptedHandler handler = ScriptedHandler.hearingAll();
  private final DrivenEngine mta = DrivenEngine.negotiated(handler);

  @Test
  @Tag("F25")
  void theEndOfAMessageMayCarryTheLastPieceOfTheBody() {
    mta.say(MAIL, RCPT, BODY);
    handler.heard();

    assertEquals(List.of("c"), mta.say("Elast"));
    assertEquals(
        List.of("body last", "end-of-message", "message-end accepted", "end of message"),
        handler.heard());
  }

  @ParameterizedTest
  @ValueSource(strings = {"accept", "reject", "temporary-failure", "discard"})
  @Tag("F25")
  void aVerdictOnTheLastPieceOfTheBodyIsTheOnlyReply(String name) {
    IPersistentMap verdict = Actions.proceed().assoc(Keys.ACTION, Keyword.intern(name));
    handler.answering(EventType.BODY, verdict);
    mta.say(MAIL, RCPT);
    handler.heard();

    assertEquals(List.of(name.substring(0, 1)), mta.say("Elast"));
    List<String> heard = handler.heard();
    assertEquals("body last", heard.get(0));
    assertTrue(heard.get(1).startsWith("message-end "), heard.toString());
    assertEquals(3, heard.size());
    assertEquals(List.of("c"), mta.say(MAIL));
  }

  @Test
  @Tag("F25")
  void theLastPieceOfTheBodyIsDecidedBeforeAnEndThatNobodyHears() {
    ScriptedHandler bodies =
        ScriptedHandler.hearing(EventType.MAIL, EventType.BODY, EventType.MESSAGE_END);
    DrivenEngine other = DrivenEngine.negotiated(bodies);
    other.say(MAIL);
    bodies.heard();

    assertEquals(List.of("c"), other.say("Elast"));
    assertEquals(List.of("body last", "message-end accepted", "end of message"), bodies.heard());

    bodies.answering(EventType.BODY, Actions.reject());
    other.say(MAIL);
    bodies.heard();
    assertEquals(List.of("r"), other.say("Elast"));
    assertEquals(List.of("body last", "message-end rejected", "end of message"), bodies.heard());
  }

  @Test
  @Tag("F25")
  void aLastPieceThatNobodyHearsIsPassedOver() {
    ScriptedHandler end = ScriptedHandler.hearing(EventType.END_OF_MESSAGE);
    DrivenEngine other = DrivenEngine.negotiated(end);

    assertEquals(List.of("c"), other.say("Elast"));
    assertEquals(List.of("end-of-message", "end of message"), end.heard());
  }

  @Test
  @Tag("F25")
  void aHandlerThatFailsAtTheLastPieceDefersTheMessageOnce() {
    handler.failing(EventType.BODY);
    mta.say(MAIL, RCPT);
    handler.heard();

    assertEquals(List.of("t"), mta.say("Elast"));
    assertEquals(
        List.of("body last", "error at body", "message-end deferred", "end of message"),
        handler.heard());
  }

  @Test
  @Tag("F25")
  void aReplyToTheLastPieceThatCannotTravelDefersTheMessageOnce() {
    handler.answering(EventType.BODY, ScriptedHandler.typed("reply-code", Keys.SMTP_CODE, 250L));
    mta.say(MAIL, RCPT);
    handler.heard();

    assertEquals(List.of("t"), mta.say("Elast"));
    assertEquals(
        List.of("body last", "error at body", "message-end deferred", "end of message"),
        handler.heard());
  }
}
