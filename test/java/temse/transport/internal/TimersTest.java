package temse.transport.internal;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertSame;

import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import org.junit.jupiter.api.Test;

class TimersTest {
  private static final long MILLI = 1_000_000;

  private static final class Item extends Timers.Timed {
    long expected = Long.MAX_VALUE;

    @Override
    boolean fire(long now) {
      return true;
    }
  }

  @Test
  void firesInOrderAndNotBeforeTheTime() {
    Timers timers = new Timers();
    Item late = new Item();
    Item early = new Item();
    assertEquals(0, timers.millisToNext(7));
    timers.schedule(late, 20 * MILLI);
    timers.schedule(early, 10 * MILLI);
    assertEquals(7, timers.millisToNext(3 * MILLI));
    assertNull(timers.pollDue(10 * MILLI - 1));
    assertEquals(1, timers.millisToNext(10 * MILLI - 1));
    assertSame(early, timers.pollDue(10 * MILLI));
    assertNull(timers.pollDue(19 * MILLI));
    assertSame(late, timers.pollDue(25 * MILLI));
    assertEquals(0, timers.millisToNext(25 * MILLI));
  }

  @Test
  void movesForwardAtOnceButBackOnlyWhenItFires() {
    Timers timers = new Timers();
    Item item = new Item();
    timers.schedule(item, 20);
    timers.schedule(item, 30);
    assertNull(timers.pollDue(19));
    assertSame(item, timers.pollDue(20));
    timers.schedule(item, 30);
    timers.schedule(item, 10);
    assertSame(item, timers.pollDue(10));
    assertNull(timers.pollDue(Long.MAX_VALUE - 1));
  }

  @Test
  void neverIsNotScheduled() {
    Timers timers = new Timers();
    Item item = new Item();
    timers.schedule(item, Long.MAX_VALUE);
    assertNull(timers.pollDue(Long.MAX_VALUE));
    timers.remove(item);
    timers.schedule(item, 1);
    timers.schedule(item, Long.MAX_VALUE);
    assertSame(item, timers.pollDue(1));
  }

  @Test
  void agreesWithASortedListWhateverIsDone() {
    Random random = new Random(3);
    Timers timers = new Timers();
    List<Item> items = new ArrayList<>();
    for (int i = 0; i < 100; i++) {
      items.add(new Item());
    }
    for (int step = 0; step < 20_000; step++) {
      Item item = items.get(random.nextInt(items.size()));
      switch (random.nextInt(4)) {
        case 0 -> {
          timers.remove(item);
          item.expected = Long.MAX_VALUE;
        }
        case 1 -> {
          Item due = (Item) timers.pollDue(500);
          long first = items.stream().mapToLong(i -> i.expected).min().orElseThrow();
          if (first > 500) {
            assertNull(due);
          } else {
            assertEquals(first, due.expected);
            due.expected = Long.MAX_VALUE;
          }
        }
        default -> {
          long due = random.nextInt(1000);
          timers.schedule(item, due);
          item.expected = Math.min(item.expected, due);
        }
      }
    }
  }
}
