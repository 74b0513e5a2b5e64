package temse.client;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;

import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.stream.Stream;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;
import temse.client.Mail.Field;
import temse.protocol.Keys;
import temse.protocol.Text;

class MailTest {
  private static Mail parse(String message) {
    return Mail.parse(
        "<a@example.org>",
        List.of("<b@example.com>"),
        message.getBytes(StandardCharsets.ISO_8859_1));
  }

  private static void assertMail(List<Field> headers, String body, String message) {
    Mail mail = parse(message);
    assertEquals(headers, mail.headers());
    assertEquals(body, new String(mail.body(), StandardCharsets.ISO_8859_1));
  }

  @ParameterizedTest
  @ValueSource(strings = {"\n", "\r\n"})
  @Tag("M12")
  @Tag("M13")
  void bothLineEndsAreRead(String end) {
    assertMail(
        List.of(
            new Field("Subject", " hi"),
            new Field("X-Folded", " a\n\tb\n  c"),
            new Field("To", "")),
        "one\r\n\r\ntwo\r\n",
        String.join(end, "Subject: hi", "X-Folded: a", "\tb", "  c", "To:", "", "one", "", "two"));
  }

  @Test
  void aMessageWithoutABodyHasNone() {
    List<Field> subject = List.of(new Field("Subject", " hi"));
    assertMail(subject, "", "Subject: hi");
    assertMail(subject, "", "Subject: hi\n");
    assertMail(subject, "", "Subject: hi\n\n");
  }

  @Test
  void aMessageWithoutAHeaderIsAllBody() {
    assertMail(List.of(), "text\r\n", "\ntext\n");
    assertMail(List.of(), "", "");
    assertMail(List.of(), "", "\r\n");
  }

  @ParameterizedTest
  @ValueSource(
      strings = {
        "no colon here\r\n",
        "From a@example.org Mon Jan  1 00:00:00 2026\r\n",
        ": no name\r\n",
        " begins with: a space\r\n",
        "\tbegins: with a tab\r\n",
        "in\tside: a tab\r\n",
        "Gr\u00fc\u00dfe: not ASCII\r\n"
      })
  void aLineThatIsNoFieldBeginsTheBody(String line) {
    assertMail(List.of(), line + "text\r\n", line + "text\r\n");
    assertMail(
        List.of(new Field("Subject", " hi")),
        line.startsWith(" ") || line.startsWith("\t") ? "text\r\n" : line + "text\r\n",
        "Subject: hi\r\n"
            + (line.startsWith(" ") || line.startsWith("\t") ? "\r\n" : line)
            + "text\r\n");
  }

  @ParameterizedTest
  @ValueSource(
      strings = {
        "\u00ef\u00bb\u00bf",
        "From a@example.org Mon Jan  1 00:00:00 2026\n",
        ">From a@example.org\r\n",
        "\u00ef\u00bb\u00bfFrom a\n>From b\n"
      })
  void whatProgramsPutAboveAHeaderIsLeftOut(String above) {
    assertMail(List.of(new Field("Subject", " hi")), "text\r\n", above + "Subject: hi\n\ntext\n");
    assertMail(List.of(), "text\r\n", above + "\ntext\n");
    assertMail(List.of(), "", above);
  }

  @Test
  void linesMayAllEndInCr() {
    List<Field> folded = List.of(new Field("A", " 1\n 2"));
    assertMail(folded, "x\r\ny\r\n", "A: 1\r 2\r\rx\ry");
    assertMail(folded, "x\ry\r\n", "A: 1\n 2\n\nx\ry");
  }

  @Test
  void spaceBeforeTheColonIsNotPartOfTheName() {
    assertMail(List.of(new Field("Subject", " hi")), "", "Subject \t: hi\n");
  }

  @Test
  void eightBitBytesSurvive() {
    Mail mail = parse("Subject: \u00fc\u00ff\n\n\u0080\u00ff\u0000x\n");

    assertArrayEquals("\u0080\u00ff\u0000x\r\n".getBytes(StandardCharsets.ISO_8859_1), mail.body());
    assertArrayEquals(
        " \u00fc\u00ff".getBytes(StandardCharsets.ISO_8859_1),
        Text.encodeBytes(mail.headers().get(0).raw()));
  }

  @Test
  @Tag("M11")
  void exactlyOneSpaceIsNotPartOfTheValue() {
    assertEquals("one", new Field("Subject", " one").value());
    assertEquals(" two", new Field("Subject", "  two").value());
    assertEquals("\tt", new Field("X-Tab", "\tt").value());
    assertEquals("v", new Field("X-None", "v").value());
    assertEquals("", new Field("X-Empty", "").value());
  }

  @Test
  @Tag("M13")
  void theBodyTravelsWithCrLfAndItsLastLineEnded() {
    assertEquals("a\r\nb\r\nc\r\n", wireBody("a\nb\r\nc"));
    assertEquals("a\rb\r\n", wireBody("a\rb"), "a lone CR is no line end");
    assertEquals("\r\n\r\n", wireBody("\n\n"));
    assertEquals("", wireBody(""));
  }

  @Test
  void aBodyIsCutWhereItsPiecesEnd() {
    assertCuts("ab\r\n", List.of(1), "a", "b");
    assertCuts("a\r\nb\r\n", List.of(3, 3), "a\n", "", "b\r\n");
    assertCuts("a\r\nb\r\n", List.of(2), "a\r", "\nb");
    assertCuts("a\r\n", List.of(), "a");
    assertCuts("", List.of(0), "", "");
    assertCuts("", List.of());
  }

  private static void assertCuts(String body, List<Integer> cuts, String... pieces) {
    Mail mail = parse("").withBody(Stream.of(pieces).map(Text::encodeBytes).toList());
    assertEquals(body, Text.decode(mail.body()));
    assertEquals(cuts, mail.cuts());
  }

  private static String wireBody(String body) {
    return new String(
        Mail.wireBody(body.getBytes(StandardCharsets.ISO_8859_1)), StandardCharsets.ISO_8859_1);
  }

  @Test
  void aMailIsAMapToo() {
    Mail mail = parse("Subject:  hi\n\ntext\n");

    assertEquals("<a@example.org>", mail.toMap().valAt(Keys.SENDER));
    assertEquals(List.of("<b@example.com>"), mail.toMap().valAt(Keys.RECIPIENTS));
    assertEquals(List.of(List.of("Subject", " hi")), mail.toMap().valAt(Keys.HEADERS));
    assertEquals(mail.body(), mail.toMap().valAt(Keys.BODY));
  }
}
