package temse.server.internal;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTimeoutPreemptively;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.lang.management.ManagementFactory;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.TreeMap;
import org.junit.jupiter.api.Test;

class HeaderCounterTest {
  private final HeaderCounter counter = new HeaderCounter();

  @Test
  void fieldsAreCountedByNameWhoseCaseDoesNotMatter() {
    assertEquals(1L, counter.apply("Received"));
    assertEquals(1L, counter.apply("Subject"));
    assertEquals(2L, counter.apply("RECEIVED"));
    assertEquals(3L, counter.apply("received"));
    assertEquals(2L, counter.apply("sUBJECT"));
    assertEquals(1L, counter.apply(""));
    assertEquals(2L, counter.apply(""));
  }

  /** The Kelvin sign, the long s, dotted and dotless i, escaped octets, letters beyond 16 bits. */
  @Test
  void namesAreComparedAsEqualsIgnoreCaseDoes() {
    List<String> names =
        List.of(
            "k",
            "K",
            "\u212A",
            "s",
            "S",
            "\u017F",
            "i",
            "I",
            "\u0130",
            "\u0131",
            "\u00E4",
            "\u00C4",
            "\uDC80",
            "\uDCFF",
            "\uD801\uDC28",
            "\uD801\uDC00",
            "\uD801",
            "\u00DF",
            "ss",
            "\u03C3",
            "\u03C2",
            "\u03A3",
            "[",
            "{",
            "@",
            "`");
    for (String first : names) {
      for (String second : names) {
        counter.clear();
        counter.apply("X-" + first + "-1");
        assertEquals(
            first.equalsIgnoreCase(second) ? 2L : 1L,
            counter.apply("X-" + second + "-1"),
            first + " and " + second);
      }
    }
  }

  @Test
  void countsAreThoseOfATableOfNames() {
    Random random = new Random(3);
    for (int message = 0; message < 200; message++) {
      counter.clear();
      Map<String, Long> expected = new TreeMap<>(String.CASE_INSENSITIVE_ORDER);
      int names = 1 + random.nextInt(1 << random.nextInt(12));
      for (int i = 0; i < 1000; i++) {
        String name = "X-" + Integer.toString(random.nextInt(names), 36);
        String written = random.nextBoolean() ? name : name.toUpperCase(java.util.Locale.ROOT);
        assertEquals(expected.merge(name, 1L, Long::sum), counter.apply(written));
      }
    }
  }

  @Test
  void clearingForgetsEverything() {
    for (int i = 0; i < 10_000; i++) {
      counter.apply("X-" + i);
    }
    counter.add(10);
    counter.add(5);
    assertEquals(List.of(2L, 15L), List.of((long) counter.fields(), counter.octets()));
    counter.clear();
    assertEquals(List.of(0L, 0L), List.of((long) counter.fields(), counter.octets()));
    assertEquals(1L, counter.apply("X-1"));
  }

  @Test
  void aMessageOfFewFieldsAllocatesNothing() {
    String[] names = {"Received", "From", "To", "Subject", "Date", "Message-ID", "Received"};
    com.sun.management.ThreadMXBean threads =
        (com.sun.management.ThreadMXBean) ManagementFactory.getThreadMXBean();
    for (int round = 0; round < 20_000; round++) {
      count(names);
    }
    long before = threads.getThreadAllocatedBytes(Thread.currentThread().getId());
    for (int round = 0; round < 1000; round++) {
      count(names);
    }
    long allocated = threads.getThreadAllocatedBytes(Thread.currentThread().getId()) - before;
    assertTrue(allocated < 50_000, allocated + " bytes for 1000 messages");
  }

  private void count(String[] names) {
    counter.clear();
    for (String name : names) {
      counter.apply(name);
    }
  }

  /** Names of equal {@code hashCode}, and pairs that polynomials modulo a power of two confuse. */
  @Test
  void namesThatCollideOnPurposeElsewhereAreCountedQuickly() {
    String[] halves = {"Aa", "BB"};
    assertTimeoutPreemptively(
        Duration.ofSeconds(20),
        () -> {
          for (int i = 0; i < 1 << 17; i++) {
            StringBuilder name = new StringBuilder();
            for (int bit = 0; bit < 17; bit++) {
              name.append(halves[i >> bit & 1]).append('-');
            }
            assertEquals(1L, counter.apply(name.toString()));
          }
        });
  }
}
