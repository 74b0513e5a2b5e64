package temse.mime;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.ByteArrayOutputStream;
import java.lang.reflect.Array;
import java.lang.reflect.Field;
import java.lang.reflect.Modifier;
import java.nio.CharBuffer;
import java.nio.charset.StandardCharsets;
import java.util.Base64;
import java.util.Collection;
import java.util.Collections;
import java.util.IdentityHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.junit.jupiter.api.Test;
import temse.message.HeaderField;

/** What a scanner holds of a long mail is counted: everything that its fields lead to. */
class TextScannerTest {
  private static final int LENGTH = 25 << 20;
  private static final int MOST_HELD = 256 << 10;
  private static final int PIECE = 65535;
  private static final String WORD = "Geheimwort";

  private static final List<HeaderField> MIXED =
      List.of(new HeaderField("Content-Type", "multipart/mixed; boundary=b"));

  @Test
  void littleIsHeldOfALongMailInBase64() {
    String line = Base64.getEncoder().encodeToString(new byte[57]) + "\r\n";
    String word =
        Base64.getMimeEncoder().encodeToString(("\0" + WORD).getBytes(StandardCharsets.UTF_8));
    assertFoundAndLittleHeld("Content-Transfer-Encoding: base64\r\n\r\n", line, word);
  }

  @Test
  void littleIsHeldOfALongMailInOneLine() {
    assertFoundAndLittleHeld("\r\n", "x".repeat(1000), WORD);
    assertFoundAndLittleHeld("\r\n", "-".repeat(1000), "\r\n" + WORD);
    assertFoundAndLittleHeld("\r\n", "\r".repeat(1000), WORD);
  }

  @Test
  void littleIsHeldOfWhiteSpaceInQuotedPrintable() {
    String header = "Content-Transfer-Encoding: quoted-printable\r\n\r\n";
    assertFoundAndLittleHeld(header, " ".repeat(1000), "Geheim=\r\nw=6Frt");
    assertFoundAndLittleHeld(header, "= \t".repeat(1000), WORD);
  }

  @Test
  void littleIsHeldOfLinesThatLookLikeBoundaries() {
    assertFoundAndLittleHeld("\r\n", "--bx\r\n--\r\n--c " + "x".repeat(5000) + "\r\n", WORD);
  }

  /** Plays a part that consists of a filler, a word and more of the filler. */
  private static void assertFoundAndLittleHeld(String header, String filler, String word) {
    boolean[] found = {false};
    StringBuilder tail = new StringBuilder();
    TextScanner scanner =
        new TextScanner(
            MIXED,
            MimeLimits.DEFAULT,
            (part, text) -> {
              tail.append(text);
              found[0] |= tail.indexOf(WORD) >= 0;
              tail.delete(0, Math.max(0, tail.length() - WORD.length()));
            });
    Pieces pieces = new Pieces(scanner);
    pieces.add("--b\r\n" + header);
    int half = LENGTH / 2 / filler.length();
    for (int i = 0; i < 2 * half; i++) {
      pieces.add(filler);
      if (i == half) {
        pieces.add(word);
      }
    }
    pieces.add("\r\n--b--\r\n");
    pieces.flush();
    scanner.finish();
    assertTrue(found[0], "the word is found");
    assertTrue(pieces.most < MOST_HELD, () -> "most that was held: " + pieces.most);
    assertTrue(pieces.most > 8192, "the buffers are counted");
    assertEquals(2, scanner.found().size());
  }

  /** Gives a mail to a scanner in pieces such as MTAs send, and measures after each. */
  private static final class Pieces {
    private final TextScanner scanner;
    private final ByteArrayOutputStream piece = new ByteArrayOutputStream();
    private long most;

    Pieces(TextScanner scanner) {
      this.scanner = scanner;
    }

    void add(String text) {
      piece.writeBytes(text.getBytes(StandardCharsets.ISO_8859_1));
      if (piece.size() >= PIECE) {
        flush();
      }
    }

    void flush() {
      byte[] bytes = piece.toByteArray();
      for (int i = 0; i < bytes.length; i += PIECE) {
        scanner.accept(bytes, i, Math.min(PIECE, bytes.length - i));
        most = Math.max(most, held(scanner, Collections.newSetFromMap(new IdentityHashMap<>())));
      }
      piece.reset();
    }
  }

  /** Returns how many bytes an object holds, about: arrays and buffers exactly, others as 64. */
  private static long held(Object object, Set<Object> seen) {
    if (object == null || !seen.add(object)) {
      return 0;
    }
    long size = 64;
    if (object.getClass().isArray()) {
      size += 8L * Array.getLength(object);
      if (object instanceof Object[] array) {
        for (Object element : array) {
          size += held(element, seen);
        }
      } else if (object instanceof byte[] bytes) {
        size = 64 + bytes.length;
      }
    } else if (object instanceof CharBuffer buffer) {
      size += 2L * buffer.capacity();
    } else if (object instanceof ByteArrayOutputStream stream) {
      size += stream.size();
    } else if (object instanceof CharSequence text) {
      size += 2L * text.length();
    } else if (object instanceof Collection<?> elements) {
      for (Object element : elements) {
        size += held(element, seen);
      }
    } else if (object instanceof Map<?, ?> map) {
      size += held(map.keySet(), seen) + held(map.values(), seen);
    } else if (object.getClass().getName().startsWith("temse.mime.")
        && !object.getClass().isHidden()) {
      for (Class<?> type = object.getClass(); type != Object.class; type = type.getSuperclass()) {
        for (Field field : type.getDeclaredFields()) {
          size += field.getType().isPrimitive() ? 8 : 8 + held(valueOf(field, object), seen);
        }
      }
    }
    return size;
  }

  private static Object valueOf(Field field, Object object) {
    if (Modifier.isStatic(field.getModifiers())) {
      return null;
    }
    try {
      field.setAccessible(true);
      return field.get(object);
    } catch (IllegalAccessException e) {
      throw new AssertionError(e);
    }
  }
}
