package temse.protocol;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertSame;

import java.nio.charset.StandardCharsets;
import java.util.Random;
import org.junit.jupiter.api.Test;

class RecurringNamesTest {
  @Test
  void givesOneStringForANameThatComesAgain() {
    assertSame(decode("Subject"), decode("Subject"));
  }

  @Test
  void readsNamesThatTakeEachOthersPlace() {
    for (int round = 0; round < 2; round++) {
      for (int i = 0; i < 10_000; i++) {
        assertEquals("X-" + i, decode("X-" + i));
      }
    }
  }

  @Test
  void readsWhatTextReads() {
    Random random = new Random(4);
    for (int i = 0; i < 100_000; i++) {
      byte[] bytes = new byte[random.nextInt(4)];
      random.nextBytes(bytes);
      assertEquals(Text.decode(bytes), RecurringNames.decode(bytes, 0, bytes.length));
    }
  }

  @Test
  void readsLongNamesToo() {
    assertEquals("X".repeat(998), decode("X".repeat(998)));
  }

  private static String decode(String name) {
    byte[] bytes = ("<" + name + ">").getBytes(StandardCharsets.US_ASCII);
    return RecurringNames.decode(bytes, 1, bytes.length - 1);
  }
}
