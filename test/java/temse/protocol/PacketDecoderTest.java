package temse.protocol;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertSame;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.ByteArrayOutputStream;
import java.lang.management.ManagementFactory;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;

class PacketDecoderTest {
  private static final int CHUNK = 65535;

  private final PacketDecoder decoder = new PacketDecoder(Wire.LIMIT);

  @Test
  @Tag("W1")
  void countsTheCodeByteInABigEndianLength() {
    Packet packet = next("00 00 01 02 42 " + "61 ".repeat(257).strip());
    assertEquals('B', packet.code());
    assertEquals(257, packet.payload().length);
  }

  @Test
  void readsAPacketWithoutPayload() {
    Packet packet = next("00 00 00 01 41");
    assertEquals('A', packet.code());
    assertEquals(0, packet.payload().length);
  }

  @Test
  @Tag("W2")
  void readsPacketsThatComeByteByByte() {
    List<Packet> packets = new ArrayList<>();
    for (byte b : stream()) {
      Packet packet = decoder.next(ByteBuffer.wrap(new byte[] {b}));
      if (packet != null) {
        packets.add(packet);
      }
    }
    assertStream(packets);
  }

  @Test
  @Tag("W3")
  void readsPacketsThatComeTogether() {
    assertStream(Wire.packets(stream()));
  }

  @Test
  void givesMacrosThatAreSaidAgainAsTheSamePacket() {
    byte[] macros = macros("Li\0one\0");
    Packet first = decoder.next(ByteBuffer.wrap(macros));
    ByteBuffer again = ByteBuffer.allocate(2 * macros.length).put(macros).put(macros).flip();
    assertSame(first, decoder.next(again));
    assertSame(first, decoder.next(again));
    assertFalse(again.hasRemaining());
    assertFalse(decoder.midPacket());
  }

  @Test
  void tellsMacrosOfTheSameLengthApart() {
    Packet first = decoder.next(ByteBuffer.wrap(macros("Li\0one\0")));
    Packet second = decoder.next(ByteBuffer.wrap(macros("Li\0two\0")));
    assertArrayEquals("Li\0one\0".getBytes(), first.payload());
    assertArrayEquals("Li\0two\0".getBytes(), second.payload());
  }

  @Test
  void readsMacrosThatAreSaidAgainInPieces() {
    byte[] macros = macros("Li\0one\0");
    decoder.next(ByteBuffer.wrap(macros));
    for (int cut = 1; cut < macros.length; cut++) {
      assertNull(decoder.next(ByteBuffer.wrap(macros, 0, cut)));
      Packet packet = decoder.next(ByteBuffer.wrap(macros, cut, macros.length - cut));
      assertArrayEquals("Li\0one\0".getBytes(), packet.payload());
    }
  }

  private static byte[] macros(String payload) {
    return new Packet((byte) 'D', payload.getBytes()).toBytes();
  }

  @Test
  @Tag("W2")
  @Tag("W3")
  void readsPacketsThatAreSplitAnywhere() {
    byte[] stream = stream();
    for (int split = 0; split <= stream.length; split++) {
      List<Packet> packets = new ArrayList<>();
      PacketDecoder fresh = new PacketDecoder(Wire.LIMIT);
      drain(fresh, ByteBuffer.wrap(stream, 0, split), packets);
      drain(fresh, ByteBuffer.wrap(stream, split, stream.length - split), packets);
      assertStream(packets);
    }
  }

  @Test
  void takesNoByteOfTheNextPacket() {
    ByteBuffer input = ByteBuffer.wrap(Wire.bytes("00 00 00 01 41 00 00 00 01 51"));
    decoder.next(input);
    assertEquals(5, input.position());
  }

  @Test
  void leavesAnEmptyInputAlone() {
    assertNull(decoder.next(ByteBuffer.allocate(0)));
    assertFalse(decoder.midPacket());
  }

  @Test
  @Tag("W7")
  void tellsWhetherTheStreamStandsInsideAPacket() {
    byte[] packet = Wire.bytes("00 00 00 03 44 48 69");
    for (int sent = 0; sent < packet.length; sent++) {
      assertEquals(sent > 0, decoder.midPacket(), sent + " bytes");
      decoder.next(ByteBuffer.wrap(packet, sent, 1));
    }
    assertFalse(decoder.midPacket());
  }

  @Test
  @Tag("W4")
  void refusesALengthOfZeroAsSoonAsItIsKnown() {
    refuses("00 00 00 00", MilterException.Category.MALFORMED_PACKET);
  }

  @Test
  @Tag("W5")
  void refusesALengthOverTheLimitAsSoonAsItIsKnown() {
    refuses("00 20 00 02", MilterException.Category.PACKET_TOO_LARGE);
    refuses("7F FF FF FF", MilterException.Category.PACKET_TOO_LARGE);
    refuses("80 00 00 00", MilterException.Category.PACKET_TOO_LARGE);
    refuses("FF FF FF FF", MilterException.Category.PACKET_TOO_LARGE);
  }

  @Test
  @Tag("W5")
  void saysHowLongThePacketWasAndHowLongItMayBe() {
    MilterException refusal =
        assertThrows(
            MilterException.class,
            () -> new PacketDecoder(10).next(ByteBuffer.wrap(Wire.bytes("00 00 00 0C"))));
    assertEquals(11L, refusal.getData().valAt(Wire.key("length")));
    assertEquals(10L, refusal.getData().valAt(Wire.key("limit")));
  }

  @Test
  void acceptsAPayloadOfTheLimit() {
    byte[] payload = random(10);
    Packet packet =
        new PacketDecoder(10).next(ByteBuffer.wrap(new Packet((byte) 'B', payload).toBytes()));
    assertArrayEquals(payload, packet.payload());
  }

  @Test
  @Tag("W6")
  void readsALargestPieceOfBodyWholeOrInPieces() {
    byte[] payload = random(CHUNK);
    byte[] frame = new Packet((byte) 'B', payload).toBytes();
    assertArrayEquals(payload, decoder.next(ByteBuffer.wrap(frame)).payload());
    for (int size : new int[] {1, 3, 1448, 8192, CHUNK}) {
      List<Packet> packets = new ArrayList<>();
      for (int at = 0; at < frame.length; at += size) {
        drain(decoder, ByteBuffer.wrap(frame, at, Math.min(size, frame.length - at)), packets);
      }
      assertEquals(1, packets.size());
      assertArrayEquals(payload, packets.get(0).payload());
    }
  }

  @Test
  @Tag("W5")
  void allocatesNothingForALengthThatIsOnlyAnnounced() {
    byte[] announcement = Wire.bytes("40 00 00 00 42 61");
    ByteBuffer input = ByteBuffer.wrap(announcement);
    long before = allocated();
    PacketDecoder generous = new PacketDecoder(Integer.MAX_VALUE - 8);
    assertNull(generous.next(input));
    long after = allocated();
    assertTrue(generous.midPacket());
    assertTrue(after - before < 100_000, (after - before) + " bytes for 1 GiB announced");
  }

  @Test
  void allocatesInProportionToWhatHasArrived() {
    byte[] arrived = new byte[100_000];
    byte[] prefix = Wire.bytes("40 00 00 00 42");
    PacketDecoder generous = new PacketDecoder(Integer.MAX_VALUE - 8);
    generous.next(ByteBuffer.wrap(prefix));
    long before = allocated();
    for (int at = 0; at < arrived.length; at += 1000) {
      generous.next(ByteBuffer.wrap(arrived, at, 1000));
    }
    long taken = allocated() - before;
    assertTrue(taken < 10L * arrived.length, taken + " bytes for " + arrived.length);
  }

  @Test
  void readsFromADirectBuffer() {
    ByteBuffer direct = ByteBuffer.allocateDirect(16);
    direct.put(Wire.bytes("00 00 00 03 44 48 69")).flip();
    assertEquals("48 69", Wire.hex(decoder.next(direct).payload()));
  }

  @Test
  void keepsPacketsApartFromTheBufferTheyCameFrom() {
    byte[] frame = Wire.bytes("00 00 00 02 42 61");
    Packet packet = decoder.next(ByteBuffer.wrap(frame));
    frame[5] = 'z';
    assertEquals("61", Wire.hex(packet.payload()));
  }

  // ---- the budget of unfinished packets

  @Test
  void anUnfinishedPacketTakesItsMemoryFromTheBudgetAndGivesItBack() {
    Budget budget = new Budget(1000);
    PacketDecoder decoder = new PacketDecoder(Wire.LIMIT, budget);
    byte[] frame = new Packet((byte) 'B', new byte[500]).toBytes();
    decoder.next(ByteBuffer.wrap(frame, 0, 100));
    assertEquals(190, budget.taken(), "twice what has come");
    decoder.next(ByteBuffer.wrap(frame, 100, 200));
    assertEquals(500, budget.taken(), "no more than is announced");
    decoder.next(ByteBuffer.wrap(frame, 300, frame.length - 300));
    assertEquals(0, budget.taken());
    decoder.next(ByteBuffer.wrap(frame));
    assertEquals(0, budget.taken(), "a packet that comes whole takes nothing");
  }

  @Test
  void theMemoryOfAReleasedPacketIsGivenBack() {
    Budget budget = new Budget(1000);
    PacketDecoder decoder = new PacketDecoder(Wire.LIMIT, budget);
    decoder.next(ByteBuffer.wrap(new Packet((byte) 'B', new byte[500]).toBytes(), 0, 400));
    decoder.release();
    decoder.release();
    assertEquals(0, budget.taken());
    assertFalse(decoder.midPacket());
  }

  @Test
  void thePacketThatDoesNotFitTheSharedBudgetIsRefusedAndNoOther() {
    Budget budget = new Budget(1000);
    byte[] frame = new Packet((byte) 'B', random(600)).toBytes();
    PacketDecoder first = new PacketDecoder(Wire.LIMIT, budget);
    PacketDecoder second = new PacketDecoder(Wire.LIMIT, budget);
    first.next(ByteBuffer.wrap(frame, 0, 590));
    MilterException refusal =
        assertThrows(MilterException.class, () -> second.next(ByteBuffer.wrap(frame, 0, 590)));
    assertEquals(MilterException.Category.LIMIT_EXCEEDED, refusal.category());
    assertEquals(1000L, refusal.getData().valAt(Wire.key("limit")));
    assertTrue(refusal.getMessage().contains("1000 bytes"), refusal.getMessage());
    assertEquals(600, budget.taken());
    assertEquals(600, first.next(ByteBuffer.wrap(frame, 590, 15)).payload().length);
    assertEquals(0, budget.taken());
  }

  @Test
  void aBudgetHoldsWhateverDecodersDoAtTheSameTime() throws InterruptedException {
    Budget budget = new Budget(5000);
    List<Thread> threads = new ArrayList<>();
    for (int seed = 0; seed < 4; seed++) {
      Random random = new Random(seed);
      threads.add(
          new Thread(
              () -> {
                for (int round = 0; round < 5000; round++) {
                  PacketDecoder decoder = new PacketDecoder(Wire.LIMIT, budget);
                  byte[] frame = new Packet((byte) 'B', new byte[random.nextInt(3000)]).toBytes();
                  int cut = random.nextInt(frame.length);
                  try {
                    decoder.next(ByteBuffer.wrap(frame, 0, cut));
                    if (random.nextBoolean()) {
                      decoder.next(ByteBuffer.wrap(frame, cut, frame.length - cut));
                    }
                  } catch (MilterException e) {
                    assertEquals(MilterException.Category.LIMIT_EXCEEDED, e.category());
                  }
                  decoder.release();
                }
              }));
    }
    threads.forEach(Thread::start);
    for (Thread thread : threads) {
      thread.join();
    }
    assertEquals(0, budget.taken());
  }

  private Packet next(String hex) {
    return decoder.next(ByteBuffer.wrap(Wire.bytes(hex)));
  }

  private static void refuses(String hex, MilterException.Category category) {
    byte[] prefix = Wire.bytes(hex);
    PacketDecoder decoder = new PacketDecoder(Wire.LIMIT);
    for (int i = 0; i < 3; i++) {
      assertNull(decoder.next(ByteBuffer.wrap(prefix, i, 1)));
    }
    MilterException refusal =
        assertThrows(MilterException.class, () -> decoder.next(ByteBuffer.wrap(prefix, 3, 1)), hex);
    assertEquals(category, refusal.category());
  }

  /** All golden packets of an MTA, one after the other. */
  private static byte[] stream() {
    ByteArrayOutputStream stream = new ByteArrayOutputStream();
    Wire.cases("events.edn")
        .forEach(golden -> stream.writeBytes(Wire.bytes((String) golden.valAt(Wire.key("hex")))));
    return stream.toByteArray();
  }

  private static void assertStream(List<Packet> packets) {
    ByteArrayOutputStream stream = new ByteArrayOutputStream();
    packets.forEach(packet -> stream.writeBytes(packet.toBytes()));
    assertArrayEquals(stream(), stream.toByteArray());
    assertEquals(Wire.cases("events.edn").size(), packets.size());
  }

  private static void drain(PacketDecoder decoder, ByteBuffer input, List<Packet> packets) {
    for (Packet packet = decoder.next(input); packet != null; packet = decoder.next(input)) {
      packets.add(packet);
    }
  }

  private static byte[] random(int size) {
    byte[] bytes = new byte[size];
    new Random(size).nextBytes(bytes);
    return bytes;
  }

  private static long allocated() {
    com.sun.management.ThreadMXBean threads =
        (com.sun.management.ThreadMXBean) ManagementFactory.getThreadMXBean();
    return threads.getThreadAllocatedBytes(Thread.currentThread().getId());
  }
}
