package temse.transport.internal;

import java.util.Arrays;
import java.util.concurrent.TimeUnit;

/**
 * Times at which something is due: a binary heap whose members know their place in it.
 *
 * <p>Deadlines mostly move later, on every event. So a member stays where it is then, fires too
 * early, finds that out and schedules itself again.
 */
final class Timers {

  /** Something that is due at some time. */
  abstract static class Timed {
    private static final int ABSENT = -1;

    private long due;
    private int place = ABSENT;

    /**
     * Called when it is due, or earlier than asked for last; it is not scheduled any more.
     *
     * @return whether the calling thread still carries the loop
     */
    abstract boolean fire(long now);
  }

  private Timed[] heap = new Timed[16];
  private int size;

  /** Has {@code timed} fire at {@code due} at the latest; {@link Long#MAX_VALUE} is never. */
  void schedule(Timed timed, long due) {
    if (timed.place == Timed.ABSENT) {
      if (due == Long.MAX_VALUE) {
        return;
      }
      if (size == heap.length) {
        heap = Arrays.copyOf(heap, 2 * size);
      }
      timed.due = due;
      rise(timed, size++);
    } else if (due < timed.due) {
      timed.due = due;
      rise(timed, timed.place);
    }
  }

  void remove(Timed timed) {
    int place = timed.place;
    if (place == Timed.ABSENT) {
      return;
    }
    timed.place = Timed.ABSENT;
    Timed last = heap[--size];
    heap[size] = null;
    if (last != timed) {
      sink(last, place);
      rise(last, last.place);
    }
  }

  /** Removes and returns one that is due, or returns null. */
  Timed pollDue(long now) {
    if (size == 0 || heap[0].due > now) {
      return null;
    }
    Timed first = heap[0];
    remove(first);
    return first;
  }

  /** Returns how many milliseconds remain until the next one is due, at least 1; 0 is for ever. */
  long millisToNext(long now) {
    return size == 0 ? 0 : Math.max(1, TimeUnit.NANOSECONDS.toMillis(heap[0].due - now));
  }

  private void rise(Timed timed, int from) {
    int place = from;
    while (place > 0 && timed.due < heap[(place - 1) / 2].due) {
      put(heap[(place - 1) / 2], place);
      place = (place - 1) / 2;
    }
    put(timed, place);
  }

  private void sink(Timed timed, int from) {
    int place = from;
    while (2 * place + 1 < size) {
      int child = 2 * place + 1;
      if (child + 1 < size && heap[child + 1].due < heap[child].due) {
        child++;
      }
      if (timed.due <= heap[child].due) {
        break;
      }
      put(heap[child], place);
      place = child;
    }
    put(timed, place);
  }

  private void put(Timed timed, int place) {
    heap[place] = timed;
    timed.place = place;
  }
}
