package temse.server.internal;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static temse.server.internal.DrivenEngine.CONNECT;
import static temse.server.internal.DrivenEngine.EOM;
import static temse.server.internal.DrivenEngine.MAIL;
import static temse.server.internal.DrivenEngine.OFFER;
import static temse.server.internal.DrivenEngine.RCPT;
import static temse.server.internal.DrivenEngine.offer;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.util.List;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;
import temse.protocol.ActionFlag;
import temse.protocol.EventType;
import temse.protocol.MacroStage;
import temse.protocol.ProtocolFlag;
import temse.server.EngineOptions;

class NegotiationOnTheWireTest {
  private static final int ALL_ACTIONS = ActionFlag.ALL;
  private static final int ALL_PROTOCOL = ProtocolFlag.ALL;

  private final ScriptedHandler handler = ScriptedHandler.hearingAll();

  private List<String> answerTo(String offer) {
    return new DrivenEngine(handler).say(offer);
  }

  @ParameterizedTest
  @Tag("F1")
  @ValueSource(strings = {CONNECT, MAIL, "A", "Q", "K", "DCj|x|", "Ufoo|"})
  void anythingBeforeTheOfferClosesTheConnection(String packet) {
    DrivenEngine mta = new DrivenEngine(handler);

    assertEquals(List.of(), mta.say(packet));
    assertTrue(mta.isClosed());
    assertEquals(List.of("violated UNEXPECTED_EVENT", "closed UNEXPECTED_EVENT"), mta.reports());
    assertEquals(List.of(), handler.heard());
  }

  @Test
  @Tag("F1")
  void aSecondOfferClosesTheConnection() {
    DrivenEngine mta = DrivenEngine.negotiated(handler);

    assertEquals(List.of(), mta.say(OFFER));
    assertTrue(mta.isClosed());
    assertEquals(List.of("disconnect error", "end of client"), handler.heard());
  }

  @Test
  @Tag("F2")
  void theVersionOfTheAnswerIsTheLowerOfTheOfferedAndSix() {
    ScriptedHandler modest = ScriptedHandler.hearing(EventType.MAIL);
    for (int offered = 2; offered <= 9; offered++) {
      String answer =
          new DrivenEngine(modest).say(offer(offered, ALL_ACTIONS, ALL_PROTOCOL)).get(0);
      assertEquals(
          "O\0\0\0".replace('\0', '|') + (char) Math.min(offered, 6), answer.substring(0, 5));
    }
  }

  @ParameterizedTest
  @Tag("F3")
  @ValueSource(
      strings = {"O\0\0\0\1\0\0\1\u00ff\0\u001f\u00ff\u00ff", "O\0\0\0\6\0\0\1\u00ff", "O"})
  void anOfferOfVersionOneOrTooShortClosesWithoutAnAnswer(String offer) {
    DrivenEngine mta = new DrivenEngine(handler);

    assertEquals(List.of(), mta.say(offer));
    assertTrue(mta.isClosed());
    assertFalse(handler.heard().contains("negotiated"));
  }

  @Test
  @Tag("F4")
  void surplusBytesOfAnOfferAreIgnored() {
    assertEquals(answerTo(OFFER), answerTo(OFFER + "abc"));
  }

  @Test
  @Tag("F5")
  void anOfferOfZeroStandsForVersionOne() {
    ScriptedHandler endOnly =
        ScriptedHandler.hearing(EventType.END_OF_MESSAGE)
            .asking(
                wishes ->
                    wishes.optionalActions(
                        List.of(ActionFlag.ADD_HEADER, ActionFlag.CHANGE_HEADER)));

    assertEquals(
        List.of(offer(2, 0x01, 0x3F).replace('\0', '|')),
        new DrivenEngine(endOnly).say(offer(2, 0, 0)));
  }

  @Test
  @Tag("F6")
  void nothingIsRequestedThatWasNotOffered() {
    handler.asking(
        wishes ->
            wishes
                .optionalActions(List.of(ActionFlag.values()))
                .noReplyEvents(ScriptedHandler.ALL)
                .optionalEvents(ScriptedHandler.ALL)
                .rejectedRecipients(true)
                .leadingSpace(true)
                .macros(MacroStage.MAIL, List.of("i")));
    for (int bit = 0; bit < 21; bit++) {
      int actions = 1 << bit % 9;
      int protocol = 1 << bit;
      String answer = answerTo(offer(6, actions, protocol)).get(0);
      byte[] bytes = DrivenEngine.bytes(answer);
      assertEquals(0, integer(bytes, 9) & ~actions, "actions of " + bit);
      assertEquals(0, integer(bytes, 13) & ~protocol, "protocol flags of " + bit);
    }
  }

  @Test
  @Tag("F7")
  void aNeededActionThatIsNotOfferedClosesWithoutAnAnswerAndTellsTheEndOnce() {
    handler.asking(wishes -> wishes.actions(ActionFlag.CHANGE_BODY));
    DrivenEngine mta = new DrivenEngine(handler);

    assertEquals(List.of(), mta.say(offer(6, 0x01, ALL_PROTOCOL)));
    assertTrue(mta.isClosed());
    assertEquals(List.of("disconnect error", "end of client"), handler.heard());
    assertEquals(List.of("violated ACTIONS_REFUSED", "closed ACTIONS_REFUSED"), mta.reports());
  }

  @Test
  @Tag("F7")
  void aNeededEventThatTheMtaIsTooOldForClosesWithoutAnAnswer() {
    DrivenEngine mta = new DrivenEngine(handler);

    assertEquals(List.of(), mta.say(offer(3, 0x3F, 0x17F)));
    assertTrue(mta.isClosed());
    assertEquals(List.of("violated EVENTS_REFUSED", "closed EVENTS_REFUSED"), mta.reports());
  }

  @Test
  void afterARefusedNegotiationNothingElseIsServed() {
    handler.asking(wishes -> wishes.actions(ActionFlag.CHANGE_BODY));
    DrivenEngine mta = new DrivenEngine(handler);

    assertEquals(List.of(), mta.say(offer(6, 0x01, ALL_PROTOCOL), CONNECT, MAIL));
    assertEquals(List.of("disconnect error", "end of client"), handler.heard());
  }

  @Test
  void aHandlerThatCannotBeMadeClosesTheConnectionAndIsReported() {
    DrivenEngine mta =
        new DrivenEngine(
            connection -> {
              throw new IOException("no database");
            },
            EngineOptions.DEFAULTS);

    assertEquals(List.of(), mta.say(OFFER));
    assertTrue(mta.isClosed());
    assertEquals(List.of("failed OPTIONS IOException", "closed IOException"), mta.reports());
  }

  @Test
  void aHandlerThatFailsWhenAskedForItsRequestClosesTheConnection() {
    handler.failing(EventType.OPTIONS);
    DrivenEngine mta = new DrivenEngine(handler);

    assertEquals(List.of(), mta.say(OFFER));
    assertTrue(mta.isClosed());
    assertEquals(
        List.of("failed OPTIONS IllegalStateException", "closed IllegalStateException"),
        mta.reports());
    assertEquals(List.of("end of client"), handler.heard());
  }

  @Test
  @Tag("F8")
  void aNoReplyEventThatTheMtaCannotSilenceIsAnsweredWithContinue() {
    handler.asking(
        wishes ->
            wishes
                .noReplyEvents(List.of(EventType.CONNECT, EventType.MAIL))
                .optionalEvents(List.of(EventType.DATA, EventType.UNKNOWN)));
    DrivenEngine mta = new DrivenEngine(handler);
    mta.say(offer(2, 0x3F, 0x7F));

    assertEquals(List.of("c"), mta.say(CONNECT));
    assertEquals(List.of("c"), mta.say(MAIL));
  }

  @Test
  @Tag("F9")
  @Tag("F10")
  void macroListsTravelOnceEachWithTheirStageNumbers() {
    ScriptedHandler macros =
        ScriptedHandler.hearing(EventType.values())
            .asking(
                wishes ->
                    wishes
                        .macros(MacroStage.END_OF_MESSAGE, List.of("i", "{auth_authen}"))
                        .macros(MacroStage.END_OF_HEADERS, List.of())
                        .macros(MacroStage.CONNECT, List.of("j")));

    assertEquals(
        List.of(
            offer(6, 0x100, 0x400).replace('\0', '|')
                + "||||j|"
                + "|||\6|"
                + "|||\5i {auth_authen}|"),
        new DrivenEngine(macros).say(OFFER));
    assertEquals(
        List.of(offer(6, 0, 0x400).replace('\0', '|')),
        new DrivenEngine(macros).say(offer(6, 0xFF, ALL_PROTOCOL)));
  }

  @Test
  void eventsWithoutAHandlerAreNotAskedFor() {
    ScriptedHandler two = ScriptedHandler.hearing(EventType.HEADER, EventType.END_OF_MESSAGE);

    assertEquals(
        List.of(offer(6, 0, 0x400 | 0x37F & ~0x20).replace('\0', '|')),
        new DrivenEngine(two).say(OFFER));
  }

  @Test
  void anMtaThatOffersNothingIsServedAllTheSame() {
    ScriptedHandler two = ScriptedHandler.hearing(EventType.HEADER, EventType.END_OF_MESSAGE);
    DrivenEngine mta = new DrivenEngine(two);

    mta.say(offer(2, 0x01, 0x80000000));
    assertEquals(
        List.of("c", "c", "c", "c", "c", "c"),
        mta.say(CONNECT, MAIL, RCPT, DrivenEngine.HEADER, DrivenEngine.BODY, EOM));
    assertEquals(
        List.of("negotiated", "header Subject#1=hi", "end-of-message", "end of message"),
        two.heard());
  }

  private static int integer(byte[] bytes, int offset) {
    return ByteBuffer.wrap(bytes).getInt(offset);
  }

  @Test
  void whereNoThreadIsFreeToNegotiateTheConnectionCloses() {
    DrivenEngine mta = new DrivenEngine(ScriptedHandler.hearingAll());
    mta.sayWithoutThreads(DrivenEngine.OFFER);
    assertEquals(List.of(), mta.starve());
    assertTrue(mta.isClosed());
    assertEquals(List.of("closed HANDLER_TIMEOUT"), mta.reports());
  }
}
