package temse.mime;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.util.List;
import org.apache.james.mime4j.MimeException;
import org.apache.james.mime4j.stream.EntityState;
import org.apache.james.mime4j.stream.MimeTokenStream;
import org.junit.jupiter.api.Test;
import temse.message.HeaderField;

class MimeEditorTest {
  private static final List<HeaderField> MIXED =
      List.of(new HeaderField("Content-Type", "multipart/mixed; boundary=b"));

  private static final String BODY =
      "--b\r\n\r\none\r\n--b\r\nContent-Type: multipart/signed; boundary=c\r\n\r\n"
          + "--c\r\n\r\nsigned\r\n--c--\r\n--b\r\nContent-Type: image/png\r\n\r\nx\r\n--b--\r\n";

  private final MimeEditor editor = editor(MIXED, BODY);

  private static MimeEditor editor(List<HeaderField> headers, String body) {
    return new MimeEditor(headers, body.getBytes(StandardCharsets.ISO_8859_1), MimeLimits.DEFAULT);
  }

  private static String body(MimeEditor editor) {
    return new String(editor.body(), StandardCharsets.ISO_8859_1);
  }

  @Test
  void aTextIsReplacedAndNothingElse() {
    MimePart text = editor.parts().get(1);
    assertEquals("one", editor.text(text));
    editor.replace(text, "two\n€");
    assertEquals(
        BODY.replace(
            "--b\r\n\r\none",
            "--b\r\nContent-Type: text/plain; charset=utf-8\r\n"
                + "Content-Transfer-Encoding: quoted-printable\r\n\r\ntwo\r\n=E2=82=AC"),
        body(editor));
    assertEquals(MIXED, editor.headers());
  }

  @Test
  void bytesAreReplaced() {
    MimePart image = editor.parts().get(4);
    assertNull(editor.text(image));
    assertEquals("x", new String(editor.content(image), StandardCharsets.US_ASCII));
    editor.replace(image, new byte[] {0, 1, 2});
    assertTrue(
        body(editor)
            .contains("image/png\r\nContent-Transfer-Encoding: base64\r\n\r\nAAEC\r\n\r\n--b--"));
  }

  @Test
  void aMessageOfOnePartHasNewHeaderFields() {
    MimeEditor plain = editor(List.of(new HeaderField("Subject", "x")), "one");
    plain.replace(plain.parts().get(0), "ü");
    assertEquals("=C3=BC", body(plain));
    assertEquals(
        List.of(
            new HeaderField("Subject", "x"),
            new HeaderField("Content-Type", "text/plain; charset=utf-8"),
            new HeaderField("Content-Transfer-Encoding", "quoted-printable"),
            new HeaderField("MIME-Version", "1.0")),
        plain.headers());
  }

  @Test
  void signedPartsAreRefusedUnlessForced() {
    MimePart signed = editor.parts().get(3);
    assertEquals(MimePart.Protection.SIGNED, signed.protection());
    assertThrows(IllegalArgumentException.class, () -> editor.replace(signed, "new"));
    assertEquals(BODY, body(editor));
    assertEquals(
        BODY.replace("\r\nsigned\r\n", "\r\nnew\r\n"), body(editor.force().replace(signed, "new")));
  }

  @Test
  void whatCannotBeReplacedIsRefused() {
    assertThrows(
        IllegalArgumentException.class, () -> editor.replace(editor.parts().get(0), "new"));
    assertThrows(
        IllegalArgumentException.class,
        () -> editor.replace(editor(MIXED, BODY).parts().get(1), "new"));
    MimeEditor broken = editor(MIXED, "no part");
    assertThrows(
        IllegalArgumentException.class, () -> broken.replace(broken.parts().get(0), "new"));
    for (HeaderField field :
        List.of(
            new HeaderField("X", "a\nY: b"),
            new HeaderField("X", "a\rY: b"),
            new HeaderField("X: a\r\nY", "b"),
            new HeaderField("", "b"))) {
      assertThrows(
          IllegalArgumentException.class,
          () -> editor.replace(editor.parts().get(1), List.of(field), "new"));
    }
  }

  @Test
  void theConfigurationIsForMime4jItself() throws IOException, MimeException {
    MimeTokenStream stream = new MimeTokenStream(new MimeLimits(100, 100, 50).mimeConfig());
    stream.parse(mail("Subject: short\r\n\r\n" + "x".repeat(100_000)));
    while (stream.getState() != EntityState.T_BODY) {
      stream.next();
    }
    assertEquals(100_000, stream.getInputStream().readAllBytes().length);

    stream.parse(mail("Subject: " + "x".repeat(100) + "\r\n\r\n"));
    assertThrows(
        MimeException.class,
        () -> {
          while (stream.getState() != EntityState.T_END_OF_STREAM) {
            stream.next();
          }
        });
  }

  private static ByteArrayInputStream mail(String text) {
    return new ByteArrayInputStream(text.getBytes(StandardCharsets.US_ASCII));
  }
}
