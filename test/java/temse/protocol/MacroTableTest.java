package temse.protocol;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertSame;
import static org.junit.jupiter.api.Assertions.assertTimeoutPreemptively;

import clojure.lang.RT;
import java.time.Duration;
import java.util.Map;
import java.util.Random;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;

class MacroTableTest {
  private static final String STAGES = "CHMRTNE";

  /** Which stages are left after a command when each had macros before. */
  private static final Map<EventType, String> LEFT =
      Map.ofEntries(
          Map.entry(EventType.OPTIONS, ""),
          Map.entry(EventType.CONNECT, "C"),
          Map.entry(EventType.HELLO, "CH"),
          Map.entry(EventType.MAIL, "CHM"),
          Map.entry(EventType.RECIPIENT, "CHMR"),
          Map.entry(EventType.DATA, STAGES),
          Map.entry(EventType.UNKNOWN, STAGES),
          Map.entry(EventType.HEADER, STAGES),
          Map.entry(EventType.END_OF_HEADERS, STAGES),
          Map.entry(EventType.BODY, STAGES),
          Map.entry(EventType.END_OF_MESSAGE, STAGES),
          Map.entry(EventType.ABORT, STAGES),
          Map.entry(EventType.DEFINE_MACRO, STAGES),
          Map.entry(EventType.MESSAGE_END, STAGES),
          Map.entry(EventType.QUIT, ""),
          Map.entry(EventType.DISCONNECT, ""));

  @Test
  @Tag("F17")
  void aCommandClearsTheStagesAfterItsOwn() {
    for (EventType type : EventType.values()) {
      MacroTable after = full().after(type);
      StringBuilder left = new StringBuilder();
      for (char stage : STAGES.toCharArray()) {
        if (after.get("of-" + stage) != null) {
          left.append(stage);
        }
      }
      assertEquals(LEFT.get(type), left.toString(), type.toString());
    }
  }

  @Test
  @Tag("F16")
  void aLaterStageHidesAnEarlierOne() {
    MacroTable table = MacroTable.EMPTY;
    for (char stage : STAGES.toCharArray()) {
      table = table.with(macros(stage, "x\0" + stage + "\0"));
      assertEquals("" + stage, table.get("x"));
    }
    table = MacroTable.EMPTY;
    for (char stage : new StringBuilder(STAGES).reverse().toString().toCharArray()) {
      table = table.with(macros(stage, "x\0" + stage + "\0"));
      assertEquals("E", table.get("x"), "set last, but of stage " + stage);
    }
  }

  @Test
  @Tag("F15")
  void namesAreFoundWithAndWithoutBraces() {
    MacroTable table = MacroTable.EMPTY.with(macros('C', "i\0Q1\0{j}\0host\0{mail_addr}\0a@b\0"));
    for (String name : new String[] {"i", "{i}"}) {
      assertEquals("Q1", table.get(name));
    }
    assertEquals("host", table.get("j"));
    assertEquals("host", table.get("{j}"));
    assertEquals("a@b", table.get("{mail_addr}"));
    assertEquals("a@b", table.get("mail_addr"));
  }

  @Test
  void namesThatAreNotDefinedHaveNoValue() {
    assertNull(MacroTable.EMPTY.get("i"));
    assertNull(full().get("i"));
    assertNull(MacroTable.EMPTY.with(macros('C', "i\0Q1\0")).get("I"));
  }

  @Test
  void aPacketReplacesTheWholeSetOfItsStage() {
    MacroTable table =
        MacroTable.EMPTY.with(macros('M', "i\0Q1\0j\0h\0")).with(macros('M', "i\0Q2\0"));
    assertEquals("Q2", table.get("i"));
    assertNull(table.get("j"));
  }

  @Test
  @Tag("F14")
  void aPacketWithoutPairsClearsItsStage() {
    MacroTable table = MacroTable.EMPTY.with(macros('M', "i\0Q1\0")).with(macros('M', ""));
    assertNull(table.get("i"));
    assertEquals(RT.map(Wire.key("mail"), RT.map()), table.toMap());
  }

  @Test
  @Tag("F13")
  void stagesThatKeepNoMacrosChangeNothing() {
    MacroTable table = MacroTable.EMPTY.with(macros('M', "i\0Q1\0"));
    for (char letter : "LBUAQKODx\0\u00FF".toCharArray()) {
      assertSame(table, table.with(macros(letter, "i\0Q2\0")));
    }
    assertSame(table, table.with(new Packet('D')));
  }

  @Test
  void anEmptyValueIsAValue() {
    MacroTable table = MacroTable.EMPTY.with(macros('C', "x\0a\0")).with(macros('M', "x\0\0"));
    assertEquals("", table.get("x"));
  }

  @Test
  void tablesAreValues() {
    MacroTable before = MacroTable.EMPTY.with(macros('M', "i\0Q1\0"));
    before.with(macros('M', "i\0Q2\0"));
    before.after(EventType.CONNECT);
    assertEquals("Q1", before.get("i"));
    assertEquals(RT.map(), MacroTable.EMPTY.toMap());
  }

  @Test
  void theMapHoldsTheStagesByName() {
    MacroTable table =
        MacroTable.EMPTY.with(macros('C', "{daemon_name}\0mx\0")).with(macros('N', "i\0Q1\0"));
    assertEquals(
        RT.map(
            Wire.key("connect"),
            RT.map("daemon_name", "mx"),
            Wire.key("end-of-headers"),
            RT.map("i", "Q1")),
        table.toMap());
  }

  @Test
  void theTableKnowsTheOctetsThatItHolds() {
    MacroTable table = MacroTable.EMPTY.with(macros('C', "i\0Q1\0")).with(macros('M', "j\0h\0"));
    assertEquals(6 + 5, table.octets());
    assertEquals(6 + 9, table.with(macros('M', "j\0longer\0".substring(0, 8))).octets());
    assertEquals(11, table.with(macros('L', "x\0y\0")).octets(), "a stage that keeps none");
    assertEquals(6, table.after(EventType.CONNECT).octets());
    assertEquals(0, table.after(EventType.QUIT).octets());
    Random random = new Random(1);
    MacroTable any = MacroTable.EMPTY;
    for (int i = 0; i < 2000; i++) {
      any =
          random.nextInt(4) == 0
              ? any.after(EventType.values()[random.nextInt(EventType.values().length)])
              : any.with(
                  macros(
                      STAGES.charAt(random.nextInt(STAGES.length())),
                      "x\0" + "v".repeat(random.nextInt(50)) + "\0"));
      long held = 0;
      for (Object stage : any.toMap()) {
        String value = (String) ((Map<?, ?>) ((Map.Entry<?, ?>) stage).getValue()).get("x");
        held += 1 + 2 + value.length() + 1;
      }
      assertEquals(held, any.octets());
    }
  }

  @Test
  void veryManyNamesAreFoundAsQuicklyAsFew() {
    StringBuilder pairs = new StringBuilder();
    for (int i = 0; i < 200_000; i++) {
      pairs.append("{n").append(i).append("}\0").append(i).append('\0');
    }
    MacroTable table = MacroTable.EMPTY.with(macros('M', pairs.toString()));
    assertTimeoutPreemptively(
        Duration.ofSeconds(20),
        () -> {
          for (int i = 0; i < 200_000; i++) {
            assertEquals(Integer.toString(i), table.get("n" + i));
          }
          assertNull(table.get("none"));
        });
  }

  private static MacroTable full() {
    MacroTable table = MacroTable.EMPTY;
    for (char stage : STAGES.toCharArray()) {
      table = table.with(macros(stage, "{of-" + stage + "}\0yes\0"));
    }
    return table;
  }

  private static Packet macros(char stage, String pairs) {
    return Wire.packet('D', stage + pairs);
  }
}
