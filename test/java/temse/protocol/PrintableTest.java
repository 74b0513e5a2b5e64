package temse.protocol;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertSame;
import static org.junit.jupiter.api.Assertions.assertTimeoutPreemptively;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.time.Duration;
import java.util.List;
import java.util.Random;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** What a terminal or a log gets of a text. */
class PrintableTest {
  private static final int[] CURIOUS = {
    0, 7, '\b', '\t', '\n', '\r', 0x1B, ' ', '\\', 'a', 'u', 0x7F, 0x85, 0x9B, 0xA0, 0xAD, 'ä',
    0x61C, 0x200B, 0x200D, 0x200E, 0x2028, 0x2029, 0x202E, 0x2066, '€', 0xD800, 0xDC80, 0xDFFF,
    0xFEFF, 0x1F600, 0xE0001
  };

  @Test
  void printableTextStaysTheSameObject() {
    String text = "Größe: 5 € (\\n stays), 用户 \uD83D\uDE00";
    assertSame("plain", Printable.of("plain", 100));
    assertEquals(text, Printable.of(text, 100));
  }

  @ParameterizedTest
  @CsvSource({
    "10, \\n",
    "13, \\r",
    "9, \\t",
    "0, \\u0000",
    "7, \\u0007",
    "27, \\u001b",
    "127, \\u007f",
    "155, \\u009b",
    "8238, \\u202e",
    "8232, \\u2028",
    "8205, \\u200d",
    "65279, \\ufeff",
    "56448, \\udc80",
    "917505, \\udb40\\udc01"
  })
  void whatSteersATerminalIsEscaped(int codePoint, String escape) {
    assertEquals("<" + escape + ">", Printable.of("<" + Character.toString(codePoint) + ">", 100));
  }

  @Test
  void aTextIsCutAtAWholeCharacter() {
    assertEquals("abcdefghij", Printable.of("abcdefghij", 10));
    assertEquals("abcdefg...", Printable.of("abcdefghijk", 10));
    assertEquals("abcd...", Printable.of("abcd\u001b\u001b", 10));
    assertEquals("abcd...", Printable.of("abcd\u001bxxxxx", 9));
    assertEquals("abcdef...", Printable.of("abcdef\uD83D\uDE00xyz", 10));
  }

  @Test
  void anyTextBecomesOneHarmlessLineWithinItsLength() {
    Random random = new Random(1);
    for (int round = 0; round < 20_000; round++) {
      StringBuilder text = new StringBuilder();
      for (int i = random.nextInt(20); i > 0; i--) {
        text.appendCodePoint(CURIOUS[random.nextInt(CURIOUS.length)]);
      }
      int most = 3 + random.nextInt(60);
      String line = Printable.of(text.toString(), most);
      assertTrue(line.length() <= most, () -> "length of " + line);
      assertFalse(
          line.codePoints()
              .map(Character::getType)
              .anyMatch(
                  type ->
                      type == Character.CONTROL
                          || type == Character.FORMAT
                          || type == Character.SURROGATE
                          || type == Character.LINE_SEPARATOR
                          || type == Character.PARAGRAPH_SEPARATOR),
          () -> "control in " + line);
      assertEquals(line, Printable.of(line, most));
    }
  }

  @Test
  void anyValueHasAText() {
    assertEquals("null", Printable.of((Object) null, 100));
    assertEquals("42", Printable.of((Object) 42, 100));
    assertEquals("null", Printable.of(new Odd(null), 100));
    assertEquals(
        "(" + Odd.class.getName() + ", whose toString fails)",
        Printable.of(new Odd(new StackOverflowError()), 100));
  }

  @Test
  void anExceptionWhoseMethodsFailIsLoggedByItsText() {
    Throwable noCause =
        new RuntimeException("odd") {
          @Override
          public synchronized Throwable getCause() {
            throw new StackOverflowError();
          }
        };
    Throwable noTrace =
        new RuntimeException("odd") {
          @Override
          public StackTraceElement[] getStackTrace() {
            return null;
          }
        };
    for (Throwable odd : List.of(noCause, noTrace)) {
      Throwable logged = Printable.throwable(odd);
      assertEquals(odd.getClass().getName() + ": odd", logged.toString());
      assertEquals(0, logged.getStackTrace().length);
      assertNull(logged.getCause());
    }
  }

  @Test
  void aHugeTextTakesLinearTime() {
    String text = "\u001b".repeat(20_000_000);
    assertTimeoutPreemptively(
        Duration.ofSeconds(20),
        () -> {
          assertEquals(96 + 3, Printable.of(text, 100).length());
          assertEquals(120_000_000, Printable.of(text, Integer.MAX_VALUE).length());
        });
  }

  private record Odd(Error error) {
    @Override
    public String toString() {
      if (error != null) {
        throw error;
      }
      return null;
    }
  }
}
