package temse.protocol;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertSame;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import clojure.lang.IPersistentMap;
import clojure.lang.RT;
import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.File;
import java.io.IOException;
import java.io.InputStream;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.AbstractList;
import java.util.List;
import java.util.Random;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.function.Supplier;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class ActionCodecTest {
  private static final int CHUNK = 65535;

  @Test
  void whateverIsThrownInTheMidstOfAPacketLeavesNothingOfIt() {
    Error error = new OutOfMemoryError("at will");
    List<String> parameters =
        new AbstractList<>() {
          @Override
          public String get(int index) {
            throw error;
          }

          @Override
          public int size() {
            return 1;
          }
        };
    IPersistentMap action = Actions.addRecipient("<a@example.org>");
    Output output = new Output();
    ActionCodec.encode(action, output);
    byte[] before = output.toByteArray();

    IPersistentMap broken = action.assoc(Keys.PARAMETERS, parameters);
    assertSame(error, assertThrows(Error.class, () -> ActionCodec.encode(broken, output)));
    assertArrayEquals(before, output.toByteArray());
    assertSame(
        error,
        assertThrows(
            Error.class,
            () -> ActionCodec.encode(ActionType.ADD_RECIPIENT, broken, 65535, output)));
    assertArrayEquals(before, output.toByteArray());
  }

  @Test
  void aPacketBeyondTheAgreedLimitLeavesNothing() {
    IPersistentMap action = Actions.addHeader("X", "y".repeat(100_000));
    Output output = new Output();
    MilterException refusal =
        assertThrows(
            MilterException.class,
            () -> ActionCodec.encode(ActionType.ADD_HEADER, action, 100_002, output));
    assertTrue(refusal.getMessage().contains("100003 bytes, the limit is 100002"));
    assertEquals(0, output.size());
    ActionCodec.encode(ActionType.ADD_HEADER, action, 100_003, output);
    assertEquals(5 + 100_003, output.size());
    assertEquals(100_004, ByteBuffer.wrap(output.toByteArray()).getInt());
  }

  @Test
  void theConstructorsMakeTheGoldenActions() {
    sends("63", Actions.proceed());
    sends("61", Actions.accept());
    sends("72", Actions.reject());
    sends("74", Actions.temporaryFailure());
    sends("64", Actions.discard());
    sends("73", Actions.skip());
    sends("34", Actions.shutdown());
    sends(
        "79 35 35 30 20 35 2E 37 2E 31 20 47 6F 20 61 77 61 79 00",
        Actions.replyCode(550, "5.7.1", "Go away"));
    sends("79 34 35 31 20 00", Actions.replyCode(451, null, ""));
    sends("68 58 2D 53 00 6F 6B 00", Actions.addHeader("X-S", "ok"));
    sends("69 00 00 00 02 58 00 76 00", Actions.insertHeader(2, "X", "v"));
    sends("6D 00 00 00 02 58 2D 41 00 6E 65 77 00", Actions.changeHeader("X-A", 2, "new"));
    sends("6D 00 00 00 01 58 2D 41 00 00", Actions.deleteHeader("X-A", 1));
    sends("62 61", Actions.changeBody("a"));
    sends("2B 3C 61 3E 00", Actions.addRecipient("<a>"));
    sends("32 3C 61 3E 00 41 20 42 00", Actions.addRecipient("<a>", List.of("A", "B")));
    sends("2D 3C 61 3E 00", Actions.deleteRecipient("<a>"));
    sends("65 3C 61 3E 00", Actions.changeSender("<a>"));
    sends("65 3C 61 3E 00 41 20 42 00", Actions.changeSender("<a>", List.of("A", "B")));
    sends("71 77 68 79 00", Actions.quarantine("why"));
  }

  @Test
  @Tag("F57")
  void repliesWithoutTextAndProgressHaveNoPayload() {
    for (ActionType type : ActionType.values()) {
      if (type.kind != ActionType.Kind.MODIFICATION && type != ActionType.REPLY_CODE) {
        List<Packet> packets =
            ActionCodec.packets(Wire.map("action", type.keyword, "why", "not sent"));
        assertEquals(1, packets.size());
        assertEquals(type.code, packets.get(0).code());
        assertEquals(0, packets.get(0).payload().length);
      }
    }
  }

  @Test
  @Tag("F51")
  void insertHeaderIsAddHeaderWithAPosition() {
    IPersistentMap insert =
        Wire.map("action", Wire.key("insert-header"), "name", "X", "value", "v");
    sends("69 00 00 00 00 58 00 76 00", insert);
    sends("69 00 00 00 03 58 00 76 00", insert.assoc(Keys.POSITION, 3L));
    assertEquals(Actions.insertHeader(0, "X", "v"), ActionCodec.normalise(insert));
  }

  @Test
  @Tag("F50")
  void deleteHeaderIsChangeHeaderWithoutAValue() {
    IPersistentMap delete = Wire.map("action", Wire.key("delete-header"), "name", "X");
    sends("6D 00 00 00 01 58 00 00", delete);
    sends("6D 00 00 00 02 58 00 00", delete.assoc(Keys.INDEX, 2L));
  }

  @Test
  void replaceBodyIsChangeBody() {
    sends("62 61", Wire.map("action", Wire.key("replace-body"), "body", "a"));
  }

  @Test
  void actionsWithoutAliasAreLeftAsTheyAre() {
    assertSame(Actions.accept(), ActionCodec.normalise(Actions.accept()));
  }

  @Test
  @Tag("F50")
  void theIndexOfAChangedHeaderIsOneUnlessGiven() {
    sends(
        "6D 00 00 00 01 58 00 76 00",
        Wire.map("action", ActionType.CHANGE_HEADER.keyword, "name", "X", "value", "v"));
  }

  @Test
  void parametersMayBeOneString() {
    sends("65 3C 61 3E 00 41 20 42 00", Actions.changeSender("<a>").assoc(Keys.PARAMETERS, "A B"));
  }

  @Test
  void recipientsWithParametersNeedAFlagOfTheirOwn() {
    IPersistentMap plain = Actions.addRecipient("<a>");
    IPersistentMap extended = Actions.addRecipient("<a>", List.of());
    assertEquals(ActionFlag.ADD_RECIPIENT, ActionCodec.flag(ActionType.ADD_RECIPIENT, plain));
    assertEquals(
        ActionFlag.ADD_RECIPIENT_PARAMETERS, ActionCodec.flag(ActionType.ADD_RECIPIENT, extended));
    assertNull(ActionCodec.flag(ActionType.ACCEPT, Actions.accept()));
  }

  @Test
  void theVerdictOfAReplyIsItsClass() {
    assertEquals(ActionType.CONTINUE, ActionCodec.verdict(Actions.proceed()));
    assertEquals(ActionType.ACCEPT, ActionCodec.verdict(Actions.accept()));
    assertEquals(ActionType.REJECT, ActionCodec.verdict(Actions.replyCode(550, null, "no")));
    assertEquals(ActionType.REJECT, ActionCodec.verdict(Actions.replyCode(500, null, "no")));
    assertEquals(
        ActionType.TEMPORARY_FAILURE, ActionCodec.verdict(Actions.replyCode(499, null, "later")));
    assertEquals(ActionType.TEMPORARY_FAILURE, ActionCodec.verdict(Actions.shutdown()));
  }

  @Test
  void aReplyCodeWithoutACodeHasNoVerdict() {
    IPersistentMap reply = Wire.map("action", ActionType.REPLY_CODE.keyword, "text", "no");
    MilterException refusal = assertThrows(MilterException.class, () -> ActionCodec.verdict(reply));
    assertEquals(MilterException.Category.BAD_ACTION, refusal.category());
  }

  // ---- bodies

  @Test
  @Tag("F43")
  void anEmptyBodyIsOneEmptyPacket() {
    assertEquals(List.of(0), sizes(Actions.changeBody("")));
    assertEquals(List.of(0), sizes(Actions.changeBody(new byte[0])));
    assertEquals(List.of(0), sizes(Actions.changeBody(List.of())));
    assertEquals(List.of(0), sizes(Actions.changeBody(List.of("", new byte[0]))));
  }

  @Test
  @Tag("W6")
  @Tag("W11")
  void largeBodiesAreSplit() {
    assertEquals(List.of(CHUNK - 1), sizes(Actions.changeBody(new byte[CHUNK - 1])));
    assertEquals(List.of(CHUNK), sizes(Actions.changeBody(new byte[CHUNK])));
    assertEquals(List.of(CHUNK, 1), sizes(Actions.changeBody(new byte[CHUNK + 1])));
    assertEquals(List.of(CHUNK, CHUNK), sizes(Actions.changeBody(new byte[2 * CHUNK])));
    assertEquals(List.of(CHUNK, CHUNK, 1), sizes(Actions.changeBody(new byte[2 * CHUNK + 1])));
  }

  @Test
  @Tag("W9")
  void everyByteOfABodyArrives() {
    byte[] bytes = random(200_000);
    assertArrayEquals(bytes, body(Actions.changeBody(bytes)));
    assertArrayEquals(bytes, body(Actions.changeBody(Text.decode(bytes))));
  }

  @Test
  void textsAreSentAsUtf8AndMayHoldNul() {
    assertEquals("C3 A4 00 FF", Wire.hex(body(Actions.changeBody("\u00E4\0\uDCFF"))));
  }

  @Test
  void streamsAreReadToTheirEndAndClosed() {
    byte[] bytes = random(CHUNK + 10);
    AtomicBoolean closed = new AtomicBoolean();
    InputStream trickle =
        new ByteArrayInputStream(bytes) {
          @Override
          public synchronized int read(byte[] target, int offset, int length) {
            return super.read(target, offset, Math.min(length, 1000));
          }

          @Override
          public void close() {
            closed.set(true);
          }
        };
    List<Packet> packets = ActionCodec.packets(Actions.changeBody(trickle));
    assertEquals(2, packets.size());
    assertArrayEquals(bytes, joined(packets));
    assertTrue(closed.get());
  }

  @Test
  void filesAreRead(@TempDir Path directory) throws IOException {
    byte[] bytes = random(70_000);
    File file = Files.write(directory.resolve("body"), bytes).toFile();
    assertArrayEquals(bytes, body(Actions.changeBody(file)));
  }

  @Test
  void filesThatCannotBeReadAreRefused(@TempDir Path directory) {
    IPersistentMap action = Actions.changeBody(directory.resolve("none").toFile());
    MilterException refusal = refused(action, "the body cannot be read");
    assertTrue(refusal.getCause() instanceof IOException);
  }

  @Test
  void sequencesArePutTogetherAcrossPackets() {
    byte[] bytes = random(40_000);
    IPersistentMap action =
        Actions.changeBody(
            List.of(bytes, "middle", List.of(bytes), new ByteArrayInputStream(bytes)));
    List<Packet> packets = ActionCodec.packets(action);
    assertEquals(2, packets.size());
    assertEquals(CHUNK, packets.get(0).payload().length);
    ByteArrayOutputStream expected = new ByteArrayOutputStream();
    expected.writeBytes(bytes);
    expected.writeBytes("middle".getBytes(StandardCharsets.US_ASCII));
    expected.writeBytes(bytes);
    expected.writeBytes(bytes);
    assertArrayEquals(expected.toByteArray(), joined(packets));
  }

  @Test
  void bodiesOfAnotherKindAreRefused() {
    String advice = ":body must be a string, bytes, an InputStream, a File, a Path, a Supplier";
    refused(() -> Wire.map("action", ActionType.CHANGE_BODY.keyword), advice);
    refused(() -> Actions.changeBody(42), advice);
    refused(() -> Actions.changeBody(List.of("a", 42)), advice);
  }

  // ---- what cannot be sent

  @Test
  void actionsThatDoNotExistAreRefused() {
    refused(
        () -> Wire.map("action", Wire.key("no-such-action")), "there is no action :no-such-action");
    refused(() -> Wire.map("reply", "accept"), "there is no action");
    refused(() -> Wire.map("action", "accept"), "there is no action");
  }

  @Test
  void missingKeysAreNamed() {
    refused(() -> Wire.map("action", ActionType.ADD_HEADER.keyword, "value", "v"), ":name must be");
    refused(() -> Wire.map("action", ActionType.ADD_HEADER.keyword, "name", "X"), ":value must be");
    refused(
        () -> Wire.map("action", ActionType.CHANGE_HEADER.keyword, "value", "v"), ":name must be");
    refused(
        () -> Wire.map("action", ActionType.ADD_RECIPIENT.keyword), ":address must be a string");
    refused(
        () -> Wire.map("action", ActionType.DELETE_RECIPIENT.keyword), ":address must be a string");
    refused(
        () -> Wire.map("action", ActionType.CHANGE_SENDER.keyword), ":address must be a string");
    refused(() -> Wire.map("action", ActionType.QUARANTINE.keyword), ":reason must be a string");
  }

  @Test
  void textsThatMustNotBeEmptyAreRefused() {
    refused(() -> Actions.addHeader("", "v"), ":name must not be empty");
    refused(() -> Actions.addRecipient(""), ":address must not be empty");
    refused(() -> Actions.deleteRecipient(""), ":address must not be empty");
    refused(() -> Actions.changeSender(""), ":address must not be empty");
    refused(() -> Actions.quarantine(""), ":reason must not be empty");
  }

  @Test
  void headerNamesOfOtherCharactersAreRefused() {
    for (String name : List.of("X Y", "X:", "X\n", "X\r", "X\t", "\0", "X\u007F", " X")) {
      refused(
          () -> Actions.addHeader(name, "v"),
          ":name must hold no space, colon or control character");
      refused(() -> Actions.changeHeader(name, 1, "v"), ":name must hold no space");
    }
  }

  @Test
  @Tag("F52")
  void headerValuesWithCrLfAreSentWithLf() {
    sends("68 58 00 61 0A 09 62 00", Actions.addHeader("X", "a\r\n\tb"));
    sends("6D 00 00 00 01 58 00 61 0A 20 62 00", Actions.changeHeader("X", 1, "a\r\n b"));
  }

  @Test
  @Tag("F52")
  void headerValuesWithALoneCrAreRefused() {
    for (String value : List.of("a\rb", "\r", "a\n \rb", "a\r\r\n b")) {
      refused(() -> Actions.addHeader("X", value), ":value holds a CR");
    }
  }

  @Test
  void headerValuesThatWouldBeginAnotherFieldAreRefused() {
    for (String value : List.of("a\nBcc: x", "a\n", "\n", "a\n\n b", "a\r\nb")) {
      refused(
          () -> Actions.addHeader("X", value), "a line that does not begin with a space or tab");
      refused(() -> Actions.changeHeader("X", 1, value), "a line that does not begin with");
      refused(() -> Actions.insertHeader(0, "X", value), "a line that does not begin with");
    }
  }

  @Test
  void lineEndsInAddressesParametersAndReasonsAreRefused() {
    for (String text : List.of("a\r", "a\nb", "\r\n")) {
      refused(() -> Actions.addRecipient(text), ":address must hold no CR or LF");
      refused(() -> Actions.deleteRecipient(text), ":address must hold no CR or LF");
      refused(() -> Actions.changeSender(text), ":address must hold no CR or LF");
      refused(() -> Actions.quarantine(text), ":reason must hold no CR or LF");
      refused(
          () -> Actions.addRecipient("<a>", List.of(text)), ":parameters must hold no CR or LF");
      refused(
          () -> Actions.changeSender("<a>").assoc(Keys.PARAMETERS, text),
          ":parameters must hold no CR or LF");
    }
  }

  @Test
  void parametersOfAnotherKindAreRefused() {
    refused(
        () -> Actions.changeSender("<a>").assoc(Keys.PARAMETERS, 1L),
        ":parameters must be a string or a vector of strings");
    refused(
        () -> Actions.changeSender("<a>").assoc(Keys.PARAMETERS, RT.vector(1L)),
        ":parameters must be a string or a vector of strings, among them is 1");
  }

  @Test
  @Tag("W10")
  void nulIsRefusedInEveryString() {
    refused(() -> Actions.addHeader("X", "a\0"), "NUL");
    refused(() -> Actions.changeHeader("X", 1, "\0"), "NUL");
    refused(() -> Actions.addRecipient("\0"), "NUL");
    refused(() -> Actions.addRecipient("<a>", List.of("a\0b")), "NUL");
    refused(() -> Actions.deleteRecipient("<a\0>"), "NUL");
    refused(() -> Actions.changeSender("<a\0>"), "NUL");
    refused(() -> Actions.quarantine("why\0"), "NUL");
  }

  @Test
  @Tag("W12")
  void textThatStandsForNoBytesIsRefused() {
    refused(() -> Actions.addHeader("X", "\uD83D"), "U+D83D");
    refused(() -> Actions.changeBody("\uDC00"), "U+DC00");
  }

  @Test
  @Tag("F51")
  void positionsAndIndexesOutOfRangeAreRefused() {
    String range = " must be a number from 0 to 2147483647";
    for (Object number : new Object[] {-1L, 2147483648L, "1"}) {
      refused(() -> Actions.addHeader("X", "v").assoc(Keys.POSITION, number), ":position" + range);
      refused(() -> Actions.changeHeader("X", 1, "v").assoc(Keys.INDEX, number), ":index" + range);
    }
  }

  @Test
  void whatDoesNotFitAPacketIsRefused() {
    String largest = "x".repeat(CHUNK - 3);
    assertEquals(
        CHUNK, ActionCodec.packets(Actions.addHeader("X", largest)).get(0).payload().length);
    refused(
        () -> Actions.addHeader("X", largest + "x"), "it takes 65536 bytes, the limit is 65535");
  }

  @Test
  @Tag("W8")
  void everyByteButNulAndLineEndsSurvivesInEachString() {
    StringBuilder chars = new StringBuilder();
    for (char c = 1; c < 256; c++) {
      chars.append(c == '\r' || c == '\n' ? 'x' : c);
    }
    String all = Text.decode(chars.toString().getBytes(StandardCharsets.ISO_8859_1));
    String visible = Text.decode(chars.substring(0x7F).getBytes(StandardCharsets.ISO_8859_1));
    survives(Actions.addHeader(visible, all));
    survives(Actions.insertHeader(0, visible, all));
    survives(Actions.changeHeader(visible, 1, all));
    survives(Actions.addRecipient(all));
    survives(Actions.addRecipient(all, List.of(visible, visible)));
    survives(Actions.deleteRecipient(all));
    survives(Actions.changeSender(all, List.of(visible)));
    survives(Actions.quarantine(all));
  }

  @Test
  void parametersAreSplitAtSpacesOnly() {
    assertEquals(
        RT.vector("\tA=\u00A0", "B\u2003"),
        ActionCodec.decode(Wire.packet('e', "<a>\0 \tA=\u00C2\u00A0   B\u00E2\u0080\u0083 \0"))
            .valAt(Keys.PARAMETERS));
  }

  @Test
  void malformedPacketsNameTheirCodeAndTheOffset() {
    MilterException refusal =
        assertThrows(MilterException.class, () -> ActionCodec.decode(Wire.packet('h', "X\0v")));
    assertEquals(MilterException.Category.MALFORMED_PACKET, refusal.category());
    assertEquals('h', refusal.getData().valAt(Wire.key("command")));
    assertEquals(2L, refusal.getData().valAt(Wire.key("offset")));
  }

  @Test
  void refusalsCarryTheActionAndTheProblem() {
    IPersistentMap action =
        Wire.map("action", ActionType.ADD_HEADER.keyword, "name", "", "value", "v");
    MilterException refusal = refused(action, "");
    assertEquals(action, refusal.getData().valAt(Keys.ACTION));
    assertEquals(":name must not be empty", refusal.getData().valAt(Wire.key("problem")));
    assertEquals(Wire.key("bad-action"), refusal.getData().valAt(Keys.ERROR));
  }

  private static void sends(String hex, IPersistentMap action) {
    List<Packet> packets = ActionCodec.packets(action);
    assertEquals(1, packets.size());
    assertEquals(hex, Wire.hex(packets.get(0).toBytes()).substring(12));
  }

  private static MilterException refused(IPersistentMap action, String advice) {
    return refused(() -> action, advice);
  }

  /** Makes an action and encodes it, one of which must fail. */
  private static MilterException refused(Supplier<IPersistentMap> action, String advice) {
    Output output = new Output();
    MilterException refusal =
        assertThrows(MilterException.class, () -> ActionCodec.encode(action.get(), output), advice);
    assertEquals(MilterException.Category.BAD_ACTION, refusal.category());
    assertTrue(refusal.getMessage().contains(advice), refusal.getMessage());
    assertEquals(0, output.size(), "nothing is written");
    return refusal;
  }

  private static void survives(IPersistentMap action) {
    List<Packet> packets = Wire.packets(ActionCodec.packets(action).get(0).toBytes());
    assertFalse(packets.isEmpty());
    assertEquals(action, ActionCodec.decode(packets.get(0)));
  }

  private static List<Integer> sizes(IPersistentMap action) {
    return ActionCodec.packets(action).stream().map(packet -> packet.payload().length).toList();
  }

  private static byte[] body(IPersistentMap action) {
    return joined(ActionCodec.packets(action));
  }

  private static byte[] joined(List<Packet> packets) {
    ByteArrayOutputStream body = new ByteArrayOutputStream();
    for (Packet packet : packets) {
      assertEquals('b', packet.code());
      body.writeBytes(packet.payload());
    }
    return body.toByteArray();
  }

  private static byte[] random(int size) {
    byte[] bytes = new byte[size];
    new Random(size).nextBytes(bytes);
    return bytes;
  }
}
