package temse.server.internal;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNull;
import static temse.server.internal.DrivenEngine.ABORT;
import static temse.server.internal.DrivenEngine.CONNECT;
import static temse.server.internal.DrivenEngine.EOM;
import static temse.server.internal.DrivenEngine.HELO;
import static temse.server.internal.DrivenEngine.MAIL;
import static temse.server.internal.DrivenEngine.QUIT;
import static temse.server.internal.DrivenEngine.QUIT_NC;
import static temse.server.internal.DrivenEngine.RCPT;

import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;
import temse.protocol.EventType;
import temse.transport.internal.Conversation.Wish;

class MacroLifeTest {
  private final ScriptedHandler handler = ScriptedHandler.hearingAll();
  private final DrivenEngine mta = DrivenEngine.negotiated(handler);

  private String macro(String name) {
    return mta.engine.connection().macros().get(name);
  }

  @Test
  @Tag("F12")
  void macrosAreNotAnswered() {
    for (char stage : "CHMRTNE".toCharArray()) {
      assertEquals(List.of(), mta.say("D" + stage + "i|1|"));
    }
  }

  @ParameterizedTest
  @Tag("F13")
  @ValueSource(strings = {"DLi|1|", "DBi|1|", "DUi|1|", "D?i|1|"})
  void macrosOfOtherStagesAreTolerated(String packet) {
    assertEquals(List.of(), mta.say(packet));
    assertEquals(Wish.READ, mta.wish());
    assertNull(macro("i"));
  }

  @ParameterizedTest
  @Tag("F14")
  @ValueSource(strings = {"DH", "DU", "DMi|1|odd|", "D"})
  void macrosWithoutPairsAreTolerated(String packet) {
    assertEquals(List.of(), mta.say(packet));
    assertEquals(List.of("c"), mta.say(CONNECT));
  }

  @Test
  @Tag("F15")
  void namesAreFoundWithAndWithoutBraces() {
    mta.say("DMi|1|{mail_addr}|a@example.org|");

    assertEquals("1", macro("i"));
    assertEquals("1", macro("{i}"));
    assertEquals("a@example.org", macro("{mail_addr}"));
  }

  @Test
  @Tag("F16")
  void aLaterStageHidesAnEarlierOne() {
    mta.say("DCi|connect|", CONNECT, "DMi|mail|", MAIL);
    assertEquals("mail", macro("i"));
    mta.say("DRi|rcpt|", RCPT);
    assertEquals("rcpt", macro("i"));
  }

  @Test
  @Tag("F16")
  void aPacketReplacesTheWholeSetOfItsStage() {
    mta.say("DMi|1|{auth_type}|plain|", "DMi|2|");

    assertEquals("2", macro("i"));
    assertNull(macro("auth_type"));
  }

  @Test
  @Tag("F17")
  void eachCommandClearsTheStagesAfterItsOwn() {
    String[] all = {"DCc|1|", "DHh|1|", "DMm|1|", "DRr|1|", "DTt|1|", "DNn|1|", "DEe|1|"};
    assertEquals("chmrtne", stagesAfter(all));
    assertEquals("c", stagesAfter(all, CONNECT));
    assertEquals("ch", stagesAfter(all, HELO));
    assertEquals("chm", stagesAfter(all, MAIL));
    assertEquals("chmr", stagesAfter(all, RCPT));
    assertEquals("chmrtne", stagesAfter(all, "T", "LSubject|hi|", "N", "Bx", EOM, ABORT, "UFOO|"));
    assertEquals("", stagesAfter(all, QUIT_NC));
  }

  /** Defines macros at all stages, sends the packets and returns which stages have some left. */
  private String stagesAfter(String[] definitions, String... packets) {
    mta.say(definitions);
    mta.say(packets);
    StringBuilder left = new StringBuilder();
    for (String name : List.of("c", "h", "m", "r", "t", "n", "e")) {
      left.append(macro(name) == null ? "" : name);
    }
    return left.toString();
  }

  @Test
  void theFirstOfTwoValuesForANameHolds() {
    mta.say("DMi|1|{i}|2|j|3|j|4|");
    assertEquals("1", macro("i"));
    assertEquals("3", macro("j"));
  }

  @Test
  void macrosOfTheMailSurviveAnAbort() {
    mta.say("DMi|1|", MAIL, ABORT);
    assertEquals("1", macro("i"));
  }

  @Test
  void handlersOfTheEndOfAClientStillSeeItsMacros() {
    List<String> seen = new ArrayList<>();
    for (EventType type :
        List.of(EventType.ABORT, EventType.MESSAGE_END, EventType.QUIT, EventType.DISCONNECT)) {
      handler.on(
          type,
          (event, connection) -> {
            seen.add(type + " " + macro("i"));
            return null;
          });
    }
    mta.say(CONNECT, "DMi|1|", MAIL, QUIT_NC, CONNECT);
    assertEquals(List.of("ABORT 1", "MESSAGE_END 1", "DISCONNECT 1"), seen);
    assertNull(macro("i"), "the next client has none");

    seen.clear();
    mta.say("DMi|2|", MAIL, QUIT);
    assertEquals(List.of("ABORT 2", "MESSAGE_END 2", "QUIT 2", "DISCONNECT 2"), seen);
  }

  @Test
  void macroPacketsAreHeardByAHandlerThatWantsThem() {
    ScriptedHandler curious = ScriptedHandler.hearing(EventType.DEFINE_MACRO);
    DrivenEngine other = DrivenEngine.negotiated(curious);

    assertEquals(List.of(), other.say("DMi|1|"));
    assertEquals(List.of("define-macro M"), curious.heard());
  }
}
