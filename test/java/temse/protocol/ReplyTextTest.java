package temse.protocol;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import clojure.lang.IPersistentMap;
import java.nio.charset.StandardCharsets;
import java.util.Collections;
import java.util.List;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;

/** Reply codes, through the codec of actions. */
class ReplyTextTest {
  @Test
  @Tag("F44")
  void oneLineIsCodeEnhancedCodeAndText() {
    assertEquals("550 5.7.1 Go away", sent(550, "5.7.1", "Go away"));
    assertEquals("451 4.3.2 Later", sent(451, "4.3.2", "Later"));
  }

  @Test
  void theEnhancedCodeMayBeMissingFromOneLine() {
    assertEquals("550 Go away", sent(550, null, "Go away"));
  }

  @Test
  void theTextMayBeMissing() {
    assertEquals("550 5.7.1 ", sent(550, "5.7.1", ""));
    IPersistentMap withoutText =
        Wire.map("action", ActionType.REPLY_CODE.keyword, "smtp-code", 550);
    assertEquals("550 ", sent(withoutText));
  }

  @Test
  @Tag("F49")
  void allLinesButTheLastHaveAHyphenAndEachRepeatsTheCodes() {
    assertEquals("550-5.7.1 a\r\n550-5.7.1 b\r\n550 5.7.1 c", sent(550, "5.7.1", "a\nb\nc"));
  }

  @Test
  @Tag("F49")
  void severalLinesWithoutAnEnhancedCodeGetTheOneOfTheirClass() {
    assertEquals("550-5.0.0 a\r\n550 5.0.0 b", sent(550, null, "a\nb"));
    assertEquals("450-4.0.0 a\r\n450 4.0.0 b", sent(450, null, "a\nb"));
  }

  @Test
  void aNumberAtTheBeginningIsNotTakenForAnEnhancedCode() {
    assertEquals("550 5.0.0 100%% sure", sent(550, null, "100% sure"));
    assertEquals("450 4.0.0 5 days", sent(450, null, "5 days"));
    assertEquals("550 5 days", sent(550, null, "5 days"));
  }

  @Test
  void enhancedCodesThatDifferBetweenLinesStayInTheText() {
    assertEquals("5.7.1 a\nb 10%", received("550-5.7.1 a\r\n550 b 10%%"));
    assertEquals("5.7.1 a\n5.7.2 b", received("550-5.7.1 a\r\n550 5.7.2 b"));
    assertEquals("a\nb", received("550-5.7.1 a\r\n550 5.7.1 b"));
  }

  @Test
  void linesMayBeSeparatedByCrLfToo() {
    assertEquals(sent(550, "5.7.1", "a\nb"), sent(550, "5.7.1", "a\r\nb"));
  }

  @Test
  @Tag("F48")
  void perCentIsDoubled() {
    assertEquals("550 5.7.1 100%% %%s", sent(550, "5.7.1", "100% %s"));
  }

  @Test
  @Tag("F45")
  void codesOutside400To599AreRefused() {
    for (int code : new int[] {-1, 0, 40, 200, 250, 399, 600, 5500}) {
      refused(reply(code, null, "no"), "400 to 599");
    }
    assertEquals("400 no", sent(400, null, "no"));
    assertEquals("599 no", sent(599, null, "no"));
  }

  @Test
  @Tag("F45")
  void codesThatAreNoNumbersAreRefused() {
    refused(Wire.map("action", ActionType.REPLY_CODE.keyword, "text", "no"), "400 to 599");
    refused(reply("550", null, "no"), "400 to 599");
  }

  @Test
  @Tag("F46")
  void enhancedCodesOfAnotherClassAreRefused() {
    refused(reply(550, "4.7.1", "no"), "must begin with 5");
    refused(reply(450, "5.7.1", "no"), "must begin with 4");
    refused(reply(550, "2.0.0", "no"), "must begin with 5");
  }

  @Test
  void enhancedCodesThatAreNoneAreRefused() {
    for (String code :
        List.of(
            "",
            "5",
            "5.7",
            "5.7.",
            "5.7.1.1",
            "5.7.1000",
            "3.7.1",
            "5.7.1 ",
            "5.7.x",
            "\u0665.7.1")) {
      refused(reply(550, code, "no"), "\"5.7.1\"");
    }
    refused(reply(550, 5, "no"), "\"5.7.1\"");
    assertEquals("550 5.123.999 no", sent(550, "5.123.999", "no"));
  }

  @Test
  @Tag("F47")
  void linesOfMoreThan980BytesAreRefused() {
    String longest = "x".repeat(980);
    assertEquals("550 5.7.1 " + longest, sent(550, "5.7.1", longest));
    refused(reply(550, "5.7.1", longest + "x"), "980");
    refused(reply(550, "5.7.1", "short\n" + longest + "x"), "980");
    refused(reply(550, "5.7.1", "\u00E4".repeat(491)), "980");
  }

  @Test
  @Tag("F47")
  void moreThan32LinesAreRefused() {
    String most = String.join("\n", Collections.nCopies(32, "x"));
    assertEquals(32, sent(550, "5.7.1", most).split("\r\n").length);
    refused(reply(550, "5.7.1", most + "\nx"), "32");
  }

  @Test
  @Tag("F47")
  @Tag("W10")
  void controlCharactersInsideALineAreRefused() {
    for (String text : List.of("a\rb", "a\r", "\ra\n", "a\0b", "a\u001Bb", "a\u007Fb")) {
      refused(reply(550, "5.7.1", text), "control character");
    }
    assertEquals("550 5.7.1 a\tb", sent(550, "5.7.1", "a\tb"));
  }

  @Test
  void textsThatAreNoStringsAreRefused() {
    refused(reply(550, "5.7.1", 42), ":text must be a string");
  }

  @Test
  void whatIsSentReadsAsTheSameAction() {
    for (String text : List.of("no", "100% %% %s", "a\nb\n\nc", "", "\u00E4", "\uDCE4")) {
      IPersistentMap action = reply(550L, "5.7.1", text);
      assertEquals(action, ActionCodec.decode(ActionCodec.packets(action).get(0)));
    }
  }

  private static IPersistentMap reply(Object code, Object enhancedCode, Object text) {
    return Wire.map(
        "action",
        ActionType.REPLY_CODE.keyword,
        "smtp-code",
        code,
        "enhanced-code",
        enhancedCode,
        "text",
        text);
  }

  private static Object received(String reply) {
    byte[] payload = (reply + "\0").getBytes(StandardCharsets.ISO_8859_1);
    return ActionCodec.decode(new Packet((byte) 'y', payload)).valAt(Keys.TEXT);
  }

  private static String sent(int code, String enhancedCode, String text) {
    return sent(reply(code, enhancedCode, text));
  }

  private static String sent(IPersistentMap action) {
    List<Packet> packets = ActionCodec.packets(action);
    assertEquals(1, packets.size());
    String payload = Text.decode(packets.get(0).payload());
    assertEquals('y', packets.get(0).code());
    assertTrue(payload.endsWith("\0"), "it ends with NUL");
    return payload.substring(0, payload.length() - 1);
  }

  private static void refused(IPersistentMap action, String advice) {
    MilterException refusal =
        assertThrows(MilterException.class, () -> ActionCodec.packets(action));
    assertEquals(MilterException.Category.BAD_ACTION, refusal.category());
    assertTrue(refusal.getMessage().contains(advice), refusal.getMessage());
    assertTrue(refusal.getMessage().startsWith(":reply-code"), refusal.getMessage());
  }
}
