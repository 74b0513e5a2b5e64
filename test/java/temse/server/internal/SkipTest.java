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

class SkipTest {
  private static final String WITHOUT_SKIP = offer(6, 0x1FF, 0x1FFBFF);

  private final ScriptedHandler handler = ScriptedHandler.hearingAll();

  private DrivenEngine inMessage(String offer) {
    DrivenEngine mta = new DrivenEngine(handler);
    mta.say(offer, MAIL, RCPT);
    handler.heard();
    return mta;
  }

  @Test
  @Tag("F40")
  void skipIsSentInReplyToTheBodyIfAgreed() {
    handler.answering(EventType.BODY, Actions.skip());
    DrivenEngine mta = inMessage(OFFER);

    assertEquals(List.of("s"), mta.say(BODY));
    assertEquals(List.of("c"), mta.say(EOM));
  }

  @Test
  @Tag("F40")
  void skipIsEmulatedWhereItWasNotAgreed() {
    handler.answering(EventType.BODY, Actions.skip());
    DrivenEngine mta = inMessage(WITHOUT_SKIP);

    assertEquals(List.of("c", "c", "c"), mta.say(BODY, BODY, BODY));
    assertEquals(List.of("body text\r\n"), handler.heard());
    assertEquals(List.of("c"), mta.say(EOM));
  }

  @ParameterizedTest
  @ValueSource(strings = {RCPT, HEADER})
  @Tag("F40")
  void skipIsEmulatedForRecipientsAndHeaders(String packet) {
    EventType type = EventType.ofCode((byte) packet.charAt(0));
    DrivenEngine mta = inMessage(OFFER);
    handler.answering(type, Actions.skip());

    assertEquals(List.of("c", "c", "c"), mta.say(packet, packet, packet));
    assertEquals(1, handler.heard().size(), "only the first was heard");
    assertEquals(List.of("c"), mta.say(EOM));
    assertEquals("end-of-message", handler.heard().get(0));
  }

  @Test
  void whatWasSkippedIsHeardAgainInTheNextMessage() {
    handler.answering(EventType.HEADER, Actions.skip()).answering(EventType.BODY, Actions.skip());
    DrivenEngine mta = inMessage(WITHOUT_SKIP);
    mta.say(HEADER, HEADER, BODY, BODY, EOM, MAIL, RCPT);
    handler.heard();

    mta.say(HEADER, BODY);
    assertEquals(List.of("header Subject#1=hi", "body text\r\n"), handler.heard());
  }

  @Test
  void anAbortedMessageIsNoLongerSkipped() {
    handler.answering(EventType.HEADER, Actions.skip());
    DrivenEngine mta = inMessage(OFFER);
    mta.say(HEADER, MAIL, RCPT);
    handler.heard();

    mta.say(HEADER);
    assertEquals(List.of("header Subject#1=hi"), handler.heard());
  }

  @Test
  void skippedEventsAreContinuedWhateverTheDefaultReplyIs() {
    DrivenEngine mta =
        new DrivenEngine(
            handler,
            EngineOptions.builder().defaultReply(EventType.HEADER, Action.reject()).build());
    handler.answering(EventType.HEADER, Actions.skip());

    mta.say(OFFER, MAIL, RCPT);
    assertEquals(List.of("c", "c"), mta.say(HEADER, HEADER));
  }

  @Test
  void skippingTheBodySkipsItsLastPieceToo() {
    handler.answering(EventType.BODY, Actions.skip());
    DrivenEngine mta = inMessage(WITHOUT_SKIP);
    mta.say(BODY);
    handler.heard();

    assertEquals(List.of("c"), mta.say("Elast"));
    assertEquals("end-of-message", handler.heard().get(0));
  }

  @Test
  void skippingTheLastPieceOfTheBodyChangesNothing() {
    handler.answering(EventType.BODY, Actions.skip());
    DrivenEngine mta = inMessage(OFFER);

    assertEquals(List.of("c"), mta.say("Elast"));
    assertEquals(
        List.of("body last", "end-of-message", "message-end accepted", "end of message"),
        handler.heard());
  }

  @ParameterizedTest
  @ValueSource(strings = {CONNECT, HELO, MAIL, DATA, EOH, EOM, "UFOO|"})
  @Tag("F40")
  void nothingElseCanBeSkipped(String packet) {
    EventType type = EventType.ofCode((byte) packet.charAt(0));
    handler.answering(type, Actions.skip());
    DrivenEngine mta = new DrivenEngine(handler);
    mta.say(OFFER);
    if (type.inMessage() && type != EventType.MAIL) {
      mta.say(MAIL);
    }

    assertEquals(List.of("t"), mta.say(packet));
    assertEquals(List.of("failed " + type + " REPLY_NOT_ALLOWED"), mta.reports());
  }
}
