package temse.protocol;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.List;
import java.util.Locale;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;
import org.junit.jupiter.params.provider.ValueSource;

/** What the grammar of a parameter does not allow is refused where the action is made. */
class EsmtpParameterTest {
  @ParameterizedTest
  @ValueSource(
      strings = {
        "RET=FULL",
        "RET=HDRS",
        "ret=hdrs",
        "ENVID=QQ314159",
        "ENVID=a+20b+3Dc",
        "NOTIFY=NEVER",
        "NOTIFY=SUCCESS",
        "notify=success,Failure,DELAY",
        "NOTIFY=DELAY,DELAY",
        "ORCPT=rfc822;bob@example.com",
        "ORCPT=RFC822;bob+2Btag@example.com",
        "ORCPT=x400;/C+3DDE/",
        "ORCPT=utf-8;jörg@exämple.com",
        "ORCPT=utf-8;j\\x{F6}rg@example.com",
        "SIZE=100",
        "BODY=8BITMIME",
        "body=binarymime",
        "AUTH=<>",
        "AUTH=e+3Dmc2@example.com",
        "BY=120;R",
        "by=-1;nt",
        "SMTPUTF8",
        "FOO",
        "NOTIFYING=x",
        "=",
        ""
      })
  void whatTheGrammarAllowsIsSent(String parameter) {
    assertNull(EsmtpParameter.correction(parameter));
    Actions.addRecipient("<a>", List.of("A", parameter));
    Actions.changeSender("<a>", List.of(parameter));
  }

  static List<String> wrong() {
    return List.of(
        "RET",
        "RET=",
        "RET=ALL",
        "RET=FULL,HDRS",
        "RET=FULL=HDRS",
        "ENVID",
        "ENVID=",
        "ENVID=a=b",
        "ENVID=a+b",
        "ENVID=a+2b",
        "ENVID=jörg",
        "ENVID=+0A",
        "ENVID=+7F",
        "ENVID=+80",
        "ENVID=\t",
        "ENVID=" + "x".repeat(101),
        "NOTIFY",
        "NOTIFY=",
        "NOTIFY=MAYBE",
        "NOTIFY=NEVER,SUCCESS",
        "NOTIFY=SUCCESS,",
        "NOTIFY=,",
        "NOTIFY=SUCCESS;FAILURE",
        "ORCPT",
        "ORCPT=",
        "ORCPT=bob@example.com",
        "ORCPT=;bob@example.com",
        "ORCPT=rfc822;",
        "ORCPT=rfc822;bob+tag@example.com",
        "ORCPT=rfc822;a=b@example.com",
        "ORCPT=rfc822;jörg@example.com",
        "ORCPT=rfc_822;bob@example.com",
        "ORCPT=rfc822;" + "x".repeat(501),
        "orcpt=bob",
        "SIZE",
        "SIZE=abc",
        "SIZE=" + "9".repeat(21),
        "BODY",
        "BODY=x",
        "AUTH",
        "AUTH=",
        "AUTH=a=b",
        "BY",
        "BY=x",
        "BY=120",
        "Notify=sometimes");
  }

  @ParameterizedTest
  @MethodSource("wrong")
  void whatItDoesNotAllowIsRefusedByFieldAndValue(String parameter) {
    for (List<String> parameters : List.of(List.of(parameter), List.of("A=1", parameter, "B"))) {
      assertRefused(parameter, () -> Actions.addRecipient("<a>", parameters));
      assertRefused(parameter, () -> Actions.changeSender("<a>", parameters));
    }
    assertRefused(
        parameter,
        () ->
            ActionCodec.check(
                Actions.changeSender("<a>").assoc(Keys.PARAMETERS, "A " + parameter)));
  }

  private static void assertRefused(String parameter, Runnable mistake) {
    MilterException refusal = assertThrows(MilterException.class, mistake::run);
    assertEquals(MilterException.Category.BAD_ACTION, refusal.category());
    String keyword = parameter.replaceFirst("=.*", "").toUpperCase(Locale.ROOT);
    assertTrue(
        refusal.getMessage().contains(":parameters holds " + Shown.of(parameter)),
        refusal.getMessage());
    assertTrue(refusal.getMessage().contains("it must be " + keyword + "="), refusal.getMessage());
  }

  @Test
  void aParameterIsGivenOnce() {
    for (String parameter : List.of("NOTIFY=NEVER", "ORCPT=rfc822;a@b", "RET=FULL")) {
      String again = parameter.toLowerCase(Locale.ROOT);
      MilterException refusal =
          assertThrows(
              MilterException.class, () -> Actions.addRecipient("<a>", List.of(parameter, again)));
      assertTrue(
          refusal.getMessage().contains(":parameters holds a second " + Shown.of(again)),
          refusal.getMessage());
    }
  }

  @Test
  void othersMayBeGivenTwice() {
    Actions.addRecipient("<a>", List.of("FOO", "foo", "FOO=1"));
  }

  @Test
  void aParameterAsLongAsAPacketIsReadAtOnce() {
    for (String piece : List.of("x", "+41", ",", "DELAY,", ";", "=", "ü")) {
      String text = piece.repeat(65_000 / piece.length());
      for (String start : List.of("RET=", "ENVID=", "NOTIFY=", "ORCPT=", "ORCPT=utf-8;")) {
        EsmtpParameter.correction(start + text);
      }
    }
  }
}
