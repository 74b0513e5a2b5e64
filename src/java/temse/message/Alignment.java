package temse.message;

import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Deque;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.function.BiPredicate;

/**
 * Which fields of a header stay, change, go and come when it becomes another: as few changes as
 * possible. Where very many fields differ it may take more changes than needed, so that time and
 * memory grow with their number only.
 */
final class Alignment {
  static final int DELETED = -1;

  /** The largest table of the exact search. */
  private static final long LARGEST = 1_000_000;

  private final List<HeaderField> before;
  private final List<HeaderField> after;
  private final BiPredicate<HeaderField, HeaderField> changeable;
  private final int[] target;

  /**
   * Aligns two headers.
   *
   * @param changeable whether one field can become another by a change of its value
   */
  Alignment(
      List<HeaderField> before,
      List<HeaderField> after,
      BiPredicate<HeaderField, HeaderField> changeable) {
    this.before = before;
    this.after = after;
    this.changeable = changeable;
    this.target = new int[before.size()];
    Arrays.fill(target, DELETED);
    align();
  }

  /** Returns the field that a field of the old header becomes, or DELETED. */
  int target(int place) {
    return target[place];
  }

  private void align() {
    int start = 0;
    int end = before.size();
    int afterEnd = after.size();
    while (start < Math.min(end, afterEnd) && before.get(start).equals(after.get(start))) {
      target[start] = start;
      start++;
    }
    while (Math.min(end, afterEnd) > start && before.get(end - 1).equals(after.get(afterEnd - 1))) {
      target[--end] = --afterEnd;
    }
    if ((end - start + 1L) * (afterEnd - start + 1L) <= LARGEST) {
      exactly(start, end, start, afterEnd);
    } else {
      roughly(start, end, start, afterEnd);
    }
  }

  // ---- the exact search

  private void exactly(int start, int end, int afterStart, int afterEnd) {
    int rows = end - start;
    int columns = afterEnd - afterStart;
    int[][] cost = new int[rows + 1][columns + 1];
    for (int i = rows; i >= 0; i--) {
      for (int j = columns; j >= 0; j--) {
        if (i == rows || j == columns) {
          cost[i][j] = rows - i + columns - j;
        } else {
          int both = pairCost(start + i, afterStart + j);
          cost[i][j] =
              Math.min(both + cost[i + 1][j + 1], 1 + Math.min(cost[i + 1][j], cost[i][j + 1]));
        }
      }
    }
    int j = 0;
    for (int i = 0; i < rows; ) {
      if (j < columns
          && cost[i][j] == pairCost(start + i, afterStart + j) + cost[i + 1][j + 1]
          && isPair(start + i, afterStart + j)) {
        target[start + i++] = afterStart + j++;
      } else if (cost[i][j] == 1 + cost[i + 1][j]) {
        i++;
      } else {
        j++;
      }
    }
  }

  private boolean isPair(int place, int afterPlace) {
    return pairCost(place, afterPlace) < 2;
  }

  /** Returns 0 for equal fields, 1 for a change, 2 where one is deleted and the other added. */
  private int pairCost(int place, int afterPlace) {
    HeaderField old = before.get(place);
    HeaderField wanted = after.get(afterPlace);
    return old.equals(wanted) ? 0 : changeable.test(old, wanted) ? 1 : 2;
  }

  // ---- the rough search

  private void roughly(int start, int end, int afterStart, int afterEnd) {
    for (int[] pair : longest(start, end, afterStart, afterEnd)) {
      target[pair[0]] = pair[1];
    }
    int from = start;
    int afterFrom = afterStart;
    for (int i = start; i <= end; i++) {
      if (i == end || target[i] != DELETED) {
        pairNames(from, i, afterFrom, i == end ? afterEnd : target[i]);
        from = i + 1;
        afterFrom = i == end ? afterEnd : target[i] + 1;
      }
    }
  }

  /** Returns pairs of equal fields whose order is the same, the last first. */
  private List<int[]> longest(int start, int end, int afterStart, int afterEnd) {
    Map<HeaderField, Deque<Integer>> places = new HashMap<>();
    for (int j = afterStart; j < afterEnd; j++) {
      places.computeIfAbsent(after.get(j), unused -> new ArrayDeque<>(2)).add(j);
    }
    int[] lastOfLength = new int[end - start + 1];
    int[] matched = new int[end - start];
    int[] previous = new int[end - start];
    int length = 0;
    for (int i = start; i < end; i++) {
      Deque<Integer> left = places.get(before.get(i));
      if (left == null || left.isEmpty()) {
        continue;
      }
      matched[i - start] = left.poll();
      int low = 1;
      int high = length;
      while (low <= high) {
        int middle = low + high >>> 1;
        if (matched[lastOfLength[middle]] < matched[i - start]) {
          low = middle + 1;
        } else {
          high = middle - 1;
        }
      }
      previous[i - start] = lastOfLength[low - 1];
      lastOfLength[low] = i - start;
      length = Math.max(length, low);
    }
    List<int[]> pairs = new ArrayList<>();
    for (int left = length, i = lastOfLength[length]; left > 0; left--) {
      pairs.add(new int[] {start + i, matched[i]});
      i = previous[i];
    }
    return pairs;
  }

  /** Pairs what can be changed, in order, between two fields that stay. */
  private void pairNames(int from, int to, int afterFrom, int afterTo) {
    Map<String, Deque<Integer>> places = new HashMap<>();
    for (int j = afterFrom; j < afterTo; j++) {
      places.computeIfAbsent(after.get(j).name(), unused -> new ArrayDeque<>(2)).add(j);
    }
    int last = afterFrom - 1;
    for (int i = from; i < to; i++) {
      Deque<Integer> left = places.get(before.get(i).name());
      while (left != null && !left.isEmpty() && left.peek() <= last) {
        left.poll();
      }
      if (left != null
          && !left.isEmpty()
          && changeable.test(before.get(i), after.get(left.peek()))) {
        last = left.poll();
        target[i] = last;
      }
    }
  }
}
