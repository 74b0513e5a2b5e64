package temse.protocol;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.nio.ByteBuffer;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.Random;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;

class TextTest {
  @Test
  @Tag("W8")
  void everyByteMakesTheRoundTrip() {
    for (int b = 0; b < 256; b++) {
      roundTrip(new byte[] {(byte) b});
    }
  }

  @Test
  @Tag("W8")
  void everyPairOfBytesMakesTheRoundTrip() {
    for (int pair = 0; pair < 1 << 16; pair++) {
      roundTrip(new byte[] {(byte) (pair >> 8), (byte) pair});
    }
  }

  @Test
  @Tag("W8")
  void randomBytesMakeTheRoundTrip() {
    Random random = new Random(6532);
    for (int i = 0; i < 20_000; i++) {
      byte[] bytes = new byte[random.nextInt(40)];
      random.nextBytes(bytes);
      roundTrip(bytes);
    }
  }

  @Test
  @Tag("W8")
  void nearlyValidSequencesMakeTheRoundTrip() {
    Random random = new Random(3629);
    int[] leads = {0x41, 0x80, 0xBF, 0xC0, 0xC1, 0xC2, 0xDF, 0xE0, 0xED, 0xEF, 0xF0, 0xF4, 0xF5};
    int[] trails = {0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC3, 0x41};
    for (int i = 0; i < 50_000; i++) {
      byte[] bytes = new byte[1 + random.nextInt(5)];
      for (int j = 0; j < bytes.length; j++) {
        int[] from = random.nextInt(3) == 0 ? leads : trails;
        bytes[j] = (byte) from[random.nextInt(from.length)];
      }
      bytes[0] = (byte) leads[random.nextInt(leads.length)];
      roundTrip(bytes);
    }
  }

  @Test
  void everyCodePointReadsAsItself() {
    for (int c = 0; c <= Character.MAX_CODE_POINT; c++) {
      if (c < Character.MIN_SURROGATE || c > Character.MAX_SURROGATE) {
        String text = Character.toString(c);
        byte[] bytes = text.getBytes(StandardCharsets.UTF_8);
        if (!text.equals(Text.decode(bytes))) {
          assertEquals(text, Text.decode(bytes), () -> Wire.hex(bytes));
        }
        assertArrayEquals(bytes, Text.encodeBytes(text));
      }
    }
  }

  @Test
  void agreesWithTheJdkAboutWhatIsValid() {
    for (int first = 0x80; first < 0x100; first++) {
      for (int rest = 0; rest < 1 << 16; rest += 7) {
        byte[] bytes = {(byte) first, (byte) (rest >> 8), (byte) rest, (byte) 0x80};
        String text = Text.decode(bytes);
        boolean escaped = text.codePoints().anyMatch(c -> c >= 0xDC80 && c <= 0xDCFF);
        if (valid(bytes) == escaped) {
          assertEquals(valid(bytes), !escaped, Wire.hex(bytes));
        }
      }
    }
  }

  @Test
  void overlongFormsAreEscaped() {
    assertEquals("\uDCC0\uDC80", decode("C0 80"));
    assertEquals("\uDCC1\uDCBF", decode("C1 BF"));
    assertEquals("\uDCE0\uDC9F\uDCBF", decode("E0 9F BF"));
    assertEquals("\uDCF0\uDC8F\uDCBF\uDCBF", decode("F0 8F BF BF"));
  }

  @Test
  void surrogatesInUtf8AreEscaped() {
    assertEquals("\uDCED\uDCA0\uDC80", decode("ED A0 80"));
    assertEquals("\uDCED\uDCBF\uDCBF", decode("ED BF BF"));
  }

  @Test
  void codePointsOverTheLastAreEscaped() {
    assertEquals("\uDCF4\uDC90\uDC80\uDC80", decode("F4 90 80 80"));
    assertEquals("\uDCF5\uDC80\uDC80\uDC80", decode("F5 80 80 80"));
    assertEquals("\uDCFF", decode("FF"));
  }

  @Test
  void onlyTheBytesThatAreNotValidAreEscaped() {
    assertEquals("a\uDCC3(\u00E4\uDCE2\uDC82\u20AC", decode("61 C3 28 C3 A4 E2 82 E2 82 AC"));
  }

  @Test
  void sequencesThatTheEndCutsOffAreEscaped() {
    assertEquals("\uDCF0\uDC9F\uDC98", decode("F0 9F 98"));
    assertEquals("\uDCE2\uDC82", decode("E2 82"));
    assertEquals("\uDCC3", decode("C3"));
  }

  @Test
  void readsNoByteOutsideItsRange() {
    byte[] bytes = Wire.bytes("C3 A4 C3 A4");
    assertEquals("\uDCA4\uDCC3", Text.decode(bytes, 1, 3));
    assertEquals("", Text.decode(bytes, 2, 2));
  }

  @Test
  void anEscapeAfterAPairOfSurrogatesStaysApart() {
    assertEquals("F0 9F 98 80 80", Wire.hex(Text.encode("\uD83D\uDE00\uDC80")));
    assertEquals("\uD83D\uDE00\uDC80", decode("F0 9F 98 80 80"));
  }

  @Test
  @Tag("W12")
  void loneSurrogatesThatStandForNoByteAreRefused() {
    for (String text :
        new String[] {"\uD800", "\uDBFF", "\uDC00", "\uDC7F", "\uDD00", "\uDFFF", "a\uD83Db"}) {
      MilterException refusal =
          assertThrows(MilterException.class, () -> Text.encode(text), text.codePointAt(0) + "");
      assertEquals(MilterException.Category.BAD_ACTION, refusal.category());
      assertTrue(refusal.getMessage().contains("U+D"), refusal.getMessage());
    }
  }

  @Test
  @Tag("W10")
  void nulIsRefusedWhereItWouldEndAString() {
    for (String text : new String[] {"\0", "a\0b", "\u00E4\0"}) {
      assertThrows(MilterException.class, () -> Text.encode(text));
      assertEquals(text, Text.decode(Text.encodeBytes(text)));
    }
  }

  private static void roundTrip(byte[] bytes) {
    if (!Arrays.equals(bytes, Text.encodeBytes(Text.decode(bytes)))) {
      assertArrayEquals(bytes, Text.encodeBytes(Text.decode(bytes)), Wire.hex(bytes));
    }
  }

  private static String decode(String hex) {
    return Text.decode(Wire.bytes(hex));
  }

  private static boolean valid(byte[] bytes) {
    try {
      StandardCharsets.UTF_8.newDecoder().decode(ByteBuffer.wrap(bytes));
      return true;
    } catch (CharacterCodingException e) {
      return false;
    }
  }
}
