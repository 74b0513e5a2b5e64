package temse.protocol;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.DynamicTest.dynamicTest;

import clojure.lang.IPersistentMap;
import clojure.lang.Keyword;
import java.nio.ByteBuffer;
import java.util.EnumSet;
import java.util.List;
import java.util.stream.Stream;
import org.junit.jupiter.api.DynamicTest;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.TestFactory;
import org.junit.jupiter.api.function.Executable;

/** The files of {@code test/resources/wire}, which the Clojure tests read, too. */
class GoldenBytesTest {
  private static final Keyword EVENT = Wire.key("event");
  private static final Keyword ACTION = Wire.key("action");

  @TestFactory
  @Tag("W1")
  @Tag("F10")
  @Tag("F13")
  @Tag("F14")
  @Tag("F18")
  @Tag("F19")
  @Tag("F20")
  @Tag("F21")
  @Tag("F22")
  Stream<DynamicTest> packetsOfAnMtaAreTheirEvents() {
    return each(
        "events.edn",
        golden -> {
          IPersistentMap event = EventCodec.decode(Wire.packet(hex(golden)));
          assertEquals(
              Wire.comparable((IPersistentMap) golden.valAt(EVENT)), Wire.comparable(event));
        });
  }

  @TestFactory
  @Tag("W1")
  Stream<DynamicTest> eventsAreTheirPackets() {
    return each(
        "events.edn",
        golden -> {
          if (!decodeOnly(golden)) {
            Packet packet = EventCodec.encode((IPersistentMap) golden.valAt(EVENT));
            assertEquals(hex(golden), Wire.hex(packet.toBytes()));
          }
        });
  }

  @TestFactory
  @Tag("W1")
  Stream<DynamicTest> packetsOfAFilterAreTheirActions() {
    return each(
        "actions.edn",
        golden -> {
          IPersistentMap action = ActionCodec.decode(Wire.packet(hex(golden)));
          assertEquals(
              Wire.comparable((IPersistentMap) golden.valAt(ACTION)), Wire.comparable(action));
        });
  }

  @TestFactory
  @Tag("W1")
  @Tag("F44")
  @Tag("F48")
  @Tag("F49")
  @Tag("F50")
  @Tag("F51")
  @Tag("F57")
  Stream<DynamicTest> actionsAreTheirPackets() {
    return each(
        "actions.edn",
        golden -> {
          if (!decodeOnly(golden)) {
            List<Packet> packets = ActionCodec.packets((IPersistentMap) golden.valAt(ACTION));
            assertEquals(1, packets.size());
            assertEquals(hex(golden), Wire.hex(packets.get(0).toBytes()));
          }
        });
  }

  @TestFactory
  @Tag("W4")
  @Tag("W5")
  @Tag("F23")
  @Tag("F54")
  Stream<DynamicTest> malformedBytesAreRefused() {
    return each(
        "malformed.edn",
        golden -> {
          MilterException refusal =
              assertThrows(MilterException.class, () -> decode(golden), hex(golden));
          assertEquals(golden.valAt(Wire.key("error")), refusal.getData().valAt(Keys.ERROR));
        });
  }

  @Test
  void thereAreGoldenBytesForEveryEventAndAction() {
    EnumSet<EventType> events = EnumSet.of(EventType.MESSAGE_END);
    for (IPersistentMap golden : Wire.cases("events.edn")) {
      IPersistentMap event = (IPersistentMap) golden.valAt(EVENT);
      events.add(EventType.ofKeyword(event.valAt(EVENT)));
    }
    EnumSet<ActionType> actions = EnumSet.noneOf(ActionType.class);
    for (IPersistentMap golden : Wire.cases("actions.edn")) {
      IPersistentMap action = (IPersistentMap) golden.valAt(ACTION);
      actions.add(ActionType.ofKeyword(action.valAt(ACTION)));
    }
    assertEquals(EnumSet.allOf(EventType.class), events);
    assertEquals(EnumSet.allOf(ActionType.class), actions);
  }

  private static Object decode(IPersistentMap golden) {
    Packet packet = new PacketDecoder(Wire.LIMIT).next(ByteBuffer.wrap(Wire.bytes(hex(golden))));
    return golden.valAt(Wire.key("from")) == Wire.key("filter")
        ? ActionCodec.decode(packet)
        : EventCodec.decode(packet);
  }

  private static String hex(IPersistentMap golden) {
    return (String) golden.valAt(Wire.key("hex"));
  }

  private static boolean decodeOnly(IPersistentMap golden) {
    return golden.valAt(Wire.key("decode-only")) != null;
  }

  private interface Check {
    void on(IPersistentMap golden);
  }

  private static Stream<DynamicTest> each(String file, Check check) {
    return Wire.cases(file).stream()
        .map(
            golden -> {
              Executable test = () -> check.on(golden);
              return dynamicTest((String) golden.valAt(Wire.key("doc")), test);
            });
  }
}
