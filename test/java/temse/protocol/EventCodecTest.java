package temse.protocol;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import clojure.lang.IPersistentMap;
import clojure.lang.RT;
import java.nio.charset.StandardCharsets;
import java.util.List;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;

class EventCodecTest {
  /** Each of the 255 bytes that a string may hold. */
  private static final String ALL_BYTES = Text.decode(allBytes());

  @Test
  @Tag("W8")
  void everyByteButNulSurvivesInEachString() {
    survives(Wire.map("event", EventType.HELLO.keyword, "greeting", ALL_BYTES));
    survives(Wire.map("event", EventType.UNKNOWN.keyword, "command", ALL_BYTES));
    survives(Wire.map("event", EventType.HEADER.keyword, "name", ALL_BYTES, "value", ALL_BYTES));
    survives(
        Wire.map(
            "event",
            EventType.MAIL.keyword,
            "sender",
            ALL_BYTES,
            "options",
            RT.vector(ALL_BYTES, ALL_BYTES)));
    survives(
        Wire.map(
            "event",
            EventType.RECIPIENT.keyword,
            "address",
            ALL_BYTES,
            "options",
            RT.vector(ALL_BYTES)));
    survives(connect(ALL_BYTES, "inet", 25L, ALL_BYTES));
    survives(
        Wire.map(
            "event",
            EventType.DEFINE_MACRO.keyword,
            "stage",
            EventType.MAIL.keyword,
            "command",
            'M',
            "definitions",
            RT.map(ALL_BYTES, ALL_BYTES)));
  }

  @Test
  @Tag("W9")
  void everyByteSurvivesInTheBody() {
    byte[] bytes = new byte[256];
    for (int i = 0; i < bytes.length; i++) {
      bytes[i] = (byte) i;
    }
    Packet packet = EventCodec.encode(Wire.map("event", EventType.BODY.keyword, "data", bytes));
    assertArrayEquals(bytes, (byte[]) EventCodec.decode(packet).valAt(Keys.DATA));
  }

  @Test
  @Tag("W6")
  void aLargestPieceOfBodySurvives() {
    byte[] bytes = new byte[65535];
    bytes[65534] = 1;
    Packet packet = EventCodec.encode(Wire.map("event", EventType.BODY.keyword, "data", bytes));
    Packet received = Wire.packets(packet.toBytes()).get(0);
    assertArrayEquals(bytes, (byte[]) EventCodec.decode(received).valAt(Keys.DATA));
  }

  @Test
  void headerFieldsLargerThanOurOwnLimitAreReadAndWritten() {
    String value = "x".repeat(102_400);
    survives(Wire.map("event", EventType.HEADER.keyword, "name", "X-Long", "value", value));
  }

  @Test
  @Tag("W10")
  void nulInsideAStringIsRefused() {
    refused(Wire.map("event", EventType.HELLO.keyword, "greeting", "a\0b"), "NUL");
    refused(Wire.map("event", EventType.HEADER.keyword, "name", "a", "value", "\0"), "NUL");
    refused(
        Wire.map("event", EventType.MAIL.keyword, "sender", "<>", "options", RT.vector("a\0")),
        "NUL");
    refused(connect("h\0", "inet", 25L, "192.0.2.1"), "NUL");
  }

  @Test
  @Tag("W12")
  void textThatStandsForNoBytesIsRefused() {
    refused(Wire.map("event", EventType.HELLO.keyword, "greeting", "\uD800"), "U+D800");
  }

  @Test
  void eventsThatDoNotTravelAreRefused() {
    refused(Wire.map("event", EventType.MESSAGE_END.keyword), ":message-end");
    refused(Wire.map("event", Wire.key("no-such-event")), ":no-such-event");
    refused(Wire.map(), "event");
  }

  @Test
  void missingAndWrongKeysAreNamed() {
    refused(Wire.map("event", EventType.HELLO.keyword), ":greeting must be a string");
    refused(Wire.map("event", EventType.UNKNOWN.keyword), ":command must be a string");
    refused(Wire.map("event", EventType.MAIL.keyword), ":sender must be a string");
    refused(Wire.map("event", EventType.RECIPIENT.keyword), ":address must be a string");
    refused(Wire.map("event", EventType.HEADER.keyword, "value", "v"), ":name must be a string");
    refused(Wire.map("event", EventType.HEADER.keyword, "name", "n"), ":value must be a string");
    refused(connect("h", "no-such-family", 25L, "a"), ":inet, :inet6, :unix or :unknown");
    refused(connect("h", "inet", 25L, null), ":address must be a string");
    refused(connect("h", "inet", 65536L, "a"), ":port must be a number from 0 to 65535");
    refused(connect("h", "inet", -1L, "a"), ":port must be a number from 0 to 65535");
    refused(Wire.map("event", EventType.BODY.keyword), ":data must be bytes");
    refused(Wire.map("event", EventType.BODY.keyword, "data", "text"), ":data must be bytes");
    refused(
        Wire.map("event", EventType.END_OF_MESSAGE.keyword, "data", "text"), ":data must be bytes");
    refused(
        Wire.map("event", EventType.MAIL.keyword, "sender", "<>", "options", RT.vector(1L)),
        ":options must be strings");
    refused(
        Wire.map("event", EventType.DEFINE_MACRO.keyword, "definitions", RT.map()),
        ":command must be the letter of a command");
    refused(
        Wire.map("event", EventType.DEFINE_MACRO.keyword, "command", 'M'),
        ":definitions must be a map of strings");
    refused(
        Wire.map(
            "event",
            EventType.DEFINE_MACRO.keyword,
            "command",
            'M',
            "definitions",
            RT.map(Wire.key("i"), "Q1")),
        ":definitions must be a map of strings");
    for (String missing : List.of("version", "action-mask", "protocol-mask")) {
      refused(
          Offer.CURRENT.event().without(Wire.key(missing)), ":" + missing + " must be a number");
    }
  }

  @Test
  void thePortMayBeMissing() {
    Packet packet = EventCodec.encode(connect("h", "unix", null, "/run/x"));
    assertEquals(0L, EventCodec.decode(packet).valAt(Keys.PORT));
  }

  @Test
  void optionsMayBeMissing() {
    assertEquals(
        "4D 3C 3E 00",
        Wire.hex(
                EventCodec.encode(Wire.map("event", EventType.MAIL.keyword, "sender", "<>"))
                    .toBytes())
            .substring(12));
  }

  @Test
  void malformedPacketsNameTheirCommandAndTheOffset() {
    MilterException refusal =
        assertThrows(
            MilterException.class, () -> EventCodec.decode(Wire.packet('L', "Subject\0hi")));
    assertEquals('L', refusal.getData().valAt(Wire.key("command")));
    assertEquals(8L, refusal.getData().valAt(Wire.key("offset")));
    assertTrue(refusal.getMessage().contains("the header value"), refusal.getMessage());
  }

  @Test
  void aValueEndsAtTheFirstNulAndNothingMayFollow() {
    MilterException refusal =
        assertThrows(
            MilterException.class, () -> EventCodec.decode(Wire.packet('L', "Subject\0a\0b\0")));
    assertEquals(10L, refusal.getData().valAt(Wire.key("offset")));
    assertTrue(refusal.getMessage().contains("bytes after the header value"), refusal.getMessage());
  }

  @Test
  void aCommandThatNobodyCanReadIsNamedByItsNumber() {
    Packet packet = new Packet((byte) 0xA0, new byte[0]);
    assertEquals(
        "malformed packet 0xa0: there is no such command (at byte 0)",
        assertThrows(MilterException.class, () -> EventCodec.type(packet)).getMessage());
  }

  @Test
  void unknownCommandsNameTheirByte() {
    for (int code = 0; code < 256; code++) {
      Packet packet = new Packet((byte) code, new byte[0]);
      if ("ODCHMRTLNBEAQKU".indexOf(code) < 0) {
        MilterException refusal =
            assertThrows(MilterException.class, () -> EventCodec.type(packet), "code " + code);
        assertEquals((char) code, refusal.getData().valAt(Wire.key("command")));
      } else {
        assertEquals((byte) code, EventCodec.type(packet).code);
      }
    }
  }

  @Test
  void headersCarryTheirPlaceAmongThoseOfTheirName() {
    IPersistentMap event =
        EventCodec.decodeHeader(
            EventCodec.encode(
                EventCodec.event(EventType.HEADER, Keys.NAME, "Received", Keys.VALUE, "from here")),
            "",
            name -> 2L);
    assertEquals(2L, event.valAt(Keys.INDEX));
    assertEquals("Received", event.valAt(Keys.NAME));
  }

  @Test
  void eventsWithoutADecidedKeyDoNotHaveIt() {
    IPersistentMap endOfMessage = EventCodec.decode(new Packet('E'));
    assertNull(endOfMessage.valAt(Keys.DATA));
    assertEquals(1, endOfMessage.count());
  }

  private static IPersistentMap connect(String host, String family, Long port, String address) {
    IPersistentMap event =
        Wire.map(
            "event",
            EventType.CONNECT.keyword,
            "host-name",
            host,
            "family",
            Wire.key(family),
            "address",
            address);
    return port == null ? event : event.assoc(Keys.PORT, port);
  }

  private static void survives(IPersistentMap event) {
    Packet sent = EventCodec.encode(event);
    Packet received = Wire.packets(sent.toBytes()).get(0);
    assertEquals(event, EventCodec.decode(received));
  }

  private static void refused(IPersistentMap event, String advice) {
    MilterException refusal =
        assertThrows(MilterException.class, () -> EventCodec.encode(event), advice);
    assertEquals(MilterException.Category.BAD_ACTION, refusal.category());
    assertTrue(refusal.getMessage().contains(advice), refusal.getMessage());
  }

  private static byte[] allBytes() {
    StringBuilder chars = new StringBuilder();
    for (char c = 1; c < 256; c++) {
      chars.append(c);
    }
    return chars.toString().getBytes(StandardCharsets.ISO_8859_1);
  }
}
