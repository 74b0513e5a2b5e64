package temse.client;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertSame;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.Test;
import temse.protocol.ActionType;
import temse.protocol.EventType;
import temse.protocol.Packet;

/** What goes wrong on purpose, in bytes. */
class FaultyWireTest {
  private static final byte[] MAIL = packet("M<a@example.org>\0");
  private static final byte[] RECIPIENT = packet("R<b@example.com>\0");

  /** Keeps the pieces that are written. */
  private static final class KeepingWire implements Wire {
    private final List<byte[]> pieces = new ArrayList<>();
    private boolean closed;

    @Override
    public void write(byte[] bytes) {
      pieces.add(bytes);
    }

    @Override
    public Packet read(Duration timeout) {
      return new Packet('c');
    }

    @Override
    public boolean hasPacket() {
      return false;
    }

    @Override
    public void close() {
      closed = true;
    }

    private List<Integer> sizes() {
      return pieces.stream().map(piece -> piece.length).toList();
    }

    private String bytes() {
      ByteArrayOutputStream all = new ByteArrayOutputStream();
      pieces.forEach(all::writeBytes);
      return all.toString(StandardCharsets.ISO_8859_1);
    }
  }

  private final KeepingWire milter = new KeepingWire();

  private Wire wire(Fault... faults) {
    return FaultyWire.of(milter, List.of(faults));
  }

  private static byte[] packet(String text) {
    byte[] payload = text.substring(1).getBytes(StandardCharsets.ISO_8859_1);
    return new Packet((byte) text.charAt(0), payload).toBytes();
  }

  private static byte[] joined(byte[]... parts) {
    ByteArrayOutputStream bytes = new ByteArrayOutputStream();
    for (byte[] part : parts) {
      bytes.writeBytes(part);
    }
    return bytes.toByteArray();
  }

  private static String text(byte[]... parts) {
    return new String(joined(parts), StandardCharsets.ISO_8859_1);
  }

  @Test
  void withoutFaultsTheWireIsTheWire() {
    assertSame(milter, wire());
  }

  @Test
  void aSplitCutsWithoutRegardForPackets() throws IOException {
    wire(Fault.split(9)).write(joined(MAIL, RECIPIENT));
    assertEquals(List.of(9, 9, 9, 9, 6), milter.sizes());
    assertEquals(text(MAIL, RECIPIENT), milter.bytes());
  }

  @Test
  void slowBytesTakeTheirTime() throws IOException {
    long start = System.nanoTime();
    wire(Fault.slow(14, Duration.ofMillis(5))).write(joined(MAIL, RECIPIENT));
    assertEquals(List.of(14, 14, 14), milter.sizes());
    assertTrue(System.nanoTime() - start >= 10_000_000);
  }

  @Test
  void mergedPacketsWaitUntilAnAnswerIsAwaited() throws IOException {
    Wire wire = wire(Fault.merge());
    wire.write(MAIL);
    wire.write(RECIPIENT);
    assertEquals(List.of(), milter.sizes());
    wire.read(Duration.ofSeconds(1));
    assertEquals(List.of(42), milter.sizes());
  }

  @Test
  void mergedPacketsAreSentBeforeTheConnectionCloses() throws IOException {
    Wire wire = wire(Fault.merge());
    wire.write(MAIL);
    wire.close();
    assertEquals(text(MAIL), milter.bytes());
    assertTrue(milter.closed);
  }

  @Test
  void garbageComesOnceRightAfterItsPacket() throws IOException {
    Wire wire = wire(Fault.garbageAfter(EventType.MAIL, new byte[] {'x', 'y'}));
    wire.write(joined(MAIL, RECIPIENT));
    wire.write(MAIL);
    assertEquals(text(MAIL, new byte[] {'x', 'y'}, RECIPIENT, MAIL), milter.bytes());
  }

  @Test
  void aConnectionIsDroppedAfterItsPacketAndStaysSo() throws IOException {
    Wire wire = wire(Fault.dropAfter(EventType.MAIL));
    wire.write(RECIPIENT);
    assertFalse(milter.closed);
    IOException dropped =
        assertThrows(IOException.class, () -> wire.write(joined(MAIL, RECIPIENT)));
    assertEquals("the connection was dropped on purpose after mail", dropped.getMessage());
    assertTrue(milter.closed);
    assertEquals(text(RECIPIENT, MAIL), milter.bytes());
    assertSame(dropped, assertThrows(IOException.class, () -> wire.write(RECIPIENT)));
    assertSame(dropped, assertThrows(IOException.class, () -> wire.read(Duration.ofSeconds(1))));
  }

  @Test
  void aPieceHasAByte() {
    assertThrows(IllegalArgumentException.class, () -> Fault.split(0));
  }

  @Test
  void aMessageThatDiesOfAFaultHasNoVerdict() throws IOException {
    MtaOptions options = MtaOptions.POSTFIX.withFaults(Fault.dropAfter(EventType.RECIPIENT));
    MtaSession mta = new MtaSession(FaultyWire.of(new ScriptedWire(), options.faults()), options);
    MessageReport report =
        mta.sendMessage("<a@example.org>", List.of("<b@example.com>"), "Subject: hi\n\nhello\n");
    assertNull(report.verdict());
    assertNull(report.reply());
    assertEquals(EventType.RECIPIENT, report.at());
    assertFalse(mta.isOpen());
  }

  @Test
  void aMessageAfterTheEndOfTheConnectionHasNotTheVerdictOfTheOneBefore() throws IOException {
    MtaOptions options = MtaOptions.POSTFIX.withFaults(Fault.dropAfter(EventType.ABORT));
    MtaSession mta = new MtaSession(FaultyWire.of(new ScriptedWire(), options.faults()), options);
    List<String> recipients = List.of("<b@example.com>");
    assertEquals(
        ActionType.ACCEPT, mta.sendMessage("<a@example.org>", recipients, "A: 1\n\n").verdict());
    MessageReport report = mta.sendMessage("<a@example.org>", recipients, "A: 1\n\n");
    assertNull(report.verdict());
    assertEquals(EventType.MAIL, report.at());
  }

  /** A milter that answers a message only when it has heard all of it. */
  private static final class PatientMilter implements Wire {
    private final ScriptedWire milter;
    private boolean inMessage;

    PatientMilter(ScriptedWire milter) {
      this.milter = milter;
    }

    @Override
    public void write(byte[] bytes) throws IOException {
      milter.write(bytes);
      String packets = new String(bytes, StandardCharsets.ISO_8859_1);
      inMessage = packets.contains("<a@example.org>") || inMessage && !packets.contains("\1E");
    }

    @Override
    public Packet read(Duration timeout) throws IOException {
      assertFalse(inMessage, "an answer is awaited before the message has ended");
      return milter.read(timeout);
    }

    @Override
    public boolean hasPacket() {
      return milter.hasPacket();
    }

    @Override
    public void close() {
      milter.close();
    }
  }

  private static MessageReport early(ScriptedWire milter) throws IOException {
    MtaOptions options = MtaOptions.SENDMAIL.withFaults(Fault.early());
    Wire wire = FaultyWire.of(new PatientMilter(milter), options.faults());
    String body = "0123456789\n".repeat(10_000);
    try (MtaSession mta = new MtaSession(wire, options)) {
      return mta.sendMessage("<a@example.org>", List.of("<b@example.com>"), "A: 1\n\n" + body);
    }
  }

  @Test
  void theEventsOfAnEarlyMessageDoNotWaitForAnswers() throws IOException {
    ScriptedWire milter = new ScriptedWire().on('E', "hX|1|", "a");
    MessageReport report = early(milter);
    assertEquals(ActionType.ACCEPT, report.verdict());
    assertEquals(1, report.modifications().size());
    assertEquals(
        "OCHMRTLNBBEQ",
        milter.commands().stream()
            .map(packet -> packet.substring(0, 1))
            .reduce("", String::concat));
  }

  @Test
  void anEarlyMessageIsSettledByTheFirstVerdictAndTheOtherAnswersAreHeardAllTheSame()
      throws IOException {
    MessageReport report = early(new ScriptedWire().on('R', "r").on('E', "r"));
    assertEquals(ActionType.REJECT, report.verdict());
    assertEquals(EventType.RECIPIENT, report.at());
  }

  @Test
  void skipDoesNotStopWhatWasSentEarly() throws IOException {
    MessageReport report = early(new ScriptedWire().on('B', "s").on('E', "d"));
    assertEquals(ActionType.DISCARD, report.verdict());
    assertEquals(EventType.END_OF_MESSAGE, report.at());
  }
}
