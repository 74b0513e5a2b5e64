package temse.message;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import org.junit.jupiter.api.Test;

/** Fields stay in their order, and as many as can. */
class AlignmentTest {
  private static boolean isChangeable(HeaderField old, HeaderField wanted) {
    return old.name().equals(wanted.name());
  }

  private static List<HeaderField> fields(Random random, int most) {
    List<HeaderField> fields = new ArrayList<>();
    int count = random.nextInt(most + 1);
    for (int i = 0; i < count; i++) {
      fields.add(new HeaderField("X-" + random.nextInt(3), "" + random.nextInt(3)));
    }
    return fields;
  }

  /**
   * Returns how many changes, deletions and insertions an alignment means; checks that it is one.
   */
  private static int cost(List<HeaderField> before, List<HeaderField> after) {
    Alignment alignment = new Alignment(before, after, AlignmentTest::isChangeable);
    int cost = 0;
    int last = -1;
    int paired = 0;
    for (int i = 0; i < before.size(); i++) {
      int target = alignment.target(i);
      if (target == Alignment.DELETED) {
        cost++;
      } else {
        assertTrue(target > last, "the order is kept");
        last = target;
        paired++;
        boolean equal = before.get(i).equals(after.get(target));
        assertTrue(equal || isChangeable(before.get(i), after.get(target)));
        cost += equal ? 0 : 1;
      }
    }
    return cost + after.size() - paired;
  }

  /** Returns the least cost, found by trying everything. */
  private static int least(List<HeaderField> before, List<HeaderField> after) {
    if (before.isEmpty() || after.isEmpty()) {
      return before.size() + after.size();
    }
    List<HeaderField> restBefore = before.subList(1, before.size());
    List<HeaderField> restAfter = after.subList(1, after.size());
    int least = 1 + Math.min(least(restBefore, after), least(before, restAfter));
    if (before.get(0).equals(after.get(0))) {
      least = Math.min(least, least(restBefore, restAfter));
    } else if (isChangeable(before.get(0), after.get(0))) {
      least = Math.min(least, 1 + least(restBefore, restAfter));
    }
    return least;
  }

  @Test
  void thereAreNoMoreChangesThanNeeded() {
    Random random = new Random(1);
    for (int i = 0; i < 2000; i++) {
      List<HeaderField> before = fields(random, 6);
      List<HeaderField> after = fields(random, 6);
      assertEquals(least(before, after), cost(before, after), () -> before + " " + after);
    }
  }

  @Test
  void veryManyFieldsAreAlignedToo() {
    Random random = new Random(2);
    List<HeaderField> before = new ArrayList<>();
    for (int i = 0; i < 10_000; i++) {
      before.add(new HeaderField("X-" + random.nextInt(50), "" + random.nextInt(1000)));
    }
    assertEquals(0, cost(before, before));
    List<HeaderField> changed = new ArrayList<>();
    before.forEach(field -> changed.add(new HeaderField(field.name(), field.value() + "!")));
    assertEquals(10_000, cost(before, changed), "each changes where it is");
    List<HeaderField> thinned = new ArrayList<>(before);
    thinned.removeIf(field -> field.value().endsWith("7"));
    int removed = before.size() - thinned.size();
    assertTrue(cost(before, thinned) <= 4 * removed, "not much more than needed");
  }
}
