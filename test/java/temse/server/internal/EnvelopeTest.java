package temse.server.internal;

import static org.junit.jupiter.api.Assertions.assertEquals;

import java.nio.charset.StandardCharsets;
import org.junit.jupiter.api.Test;
import temse.protocol.EventType;
import temse.protocol.Packet;

class EnvelopeTest {
  private final Envelope envelope = new Envelope();

  private void add(EventType type, String payload) {
    byte[] bytes = payload.getBytes(StandardCharsets.ISO_8859_1);
    envelope.add(type, new Packet(type.code, bytes));
  }

  @Test
  void namesClientSenderRecipientsAndQueueId() {
    add(EventType.CONNECT, "mail.example.org\0" + "4\0\u0019192.0.2.1\0");
    add(EventType.MAIL, "<a@example.org>\0");
    add(EventType.RECIPIENT, "<b@example.com>\0");
    add(EventType.RECIPIENT, "<c d@example.com>\0");
    envelope.named("4F3A21");
    envelope.named(null);
    assertEquals(
        "queue-id=4F3A21 client=mail.example.org[192.0.2.1] from=<a@example.org>"
            + " to=<b@example.com>,\"<c d@example.com>\"",
        envelope.toString());
    assertEquals("client=mail.example.org[192.0.2.1]", envelope.next().toString());
  }

  @Test
  void countsRecipientsThatItDoesNotName() {
    for (int i = 0; i < 22; i++) {
      add(EventType.RECIPIENT, "<r>\0");
    }
    assertEquals("to=" + "<r>,".repeat(19) + "<r> recipients=22", envelope.toString());
  }

  @Test
  void leavesOutWhatIsTooLongForALog() {
    String longest = "x".repeat(2048);
    add(EventType.MAIL, "<a>\0");
    add(EventType.MAIL, longest + "\0");
    add(EventType.RECIPIENT, longest + "\0");
    add(EventType.CONNECT, "a\0U");
    add(EventType.CONNECT, longest + "\0U");
    assertEquals("recipients=1", envelope.toString());
  }

  @Test
  void survivesWhatIsMalformed() {
    add(EventType.CONNECT, "no end");
    add(EventType.MAIL, "");
    assertEquals("client=?[?] from=?", envelope.toString());
  }
}
