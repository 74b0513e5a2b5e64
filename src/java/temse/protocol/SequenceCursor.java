package temse.protocol;

import clojure.lang.IPending;
import clojure.lang.ISeq;
import clojure.lang.Seqable;
import java.util.ArrayList;
import java.util.Iterator;
import java.util.List;
import java.util.NoSuchElementException;

/** Goes through a Clojure sequence, lazily and without keeping what it has passed. */
final class SequenceCursor implements Iterator<Object> {
  private static final int MOST_REALIZED = 10_000;

  private Seqable rest;
  private ISeq at;

  SequenceCursor(Seqable sequence) {
    this.rest = sequence;
  }

  @Override
  public boolean hasNext() {
    if (at == null && rest != null) {
      at = rest.seq();
      rest = null;
    }
    return at != null;
  }

  @Override
  public Object next() {
    if (!hasNext()) {
      throw new NoSuchElementException();
    }
    Object first = at.first();
    rest = at.more();
    at = null;
    return first;
  }

  /**
   * Returns what is left of the sequence as far as it exists already, and passes it; at most 10,000
   * parts. Whatever goes wrong ends it there.
   */
  List<Object> realized() {
    List<Object> realized = new ArrayList<>();
    try {
      while (realized.size() < MOST_REALIZED && isRealized() && hasNext()) {
        realized.add(next());
      }
    } catch (RuntimeException | Error e) {
      // What cannot be reached is given up.
    }
    return realized;
  }

  private boolean isRealized() {
    return at != null || !(rest instanceof IPending pending) || pending.isRealized();
  }
}
