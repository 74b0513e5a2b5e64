package temse.protocol;

import java.io.InputStream;
import java.lang.ref.Reference;
import java.lang.ref.ReferenceQueue;
import java.lang.ref.WeakReference;
import java.util.HashSet;
import java.util.Set;

/**
 * The streams that bodies were read from, each of which can be read once.
 *
 * <p>It goes by identity, calls no method of a stream and keeps none alive. Thread-safe.
 */
final class UsedStreams {
  private static final Set<Entry> ENTRIES = new HashSet<>();
  private static final ReferenceQueue<InputStream> GONE = new ReferenceQueue<>();

  private UsedStreams() {}

  /** Marks the stream as used and returns true, or returns false if it was used before. */
  static boolean claim(InputStream stream) {
    synchronized (ENTRIES) {
      forgetGone();
      return ENTRIES.add(new Entry(stream));
    }
  }

  /** Returns true if the stream was used before. */
  static boolean isUsed(InputStream stream) {
    synchronized (ENTRIES) {
      return ENTRIES.contains(new Entry(stream));
    }
  }

  /** Returns how many streams are known that may still be in use somewhere. */
  static int size() {
    synchronized (ENTRIES) {
      forgetGone();
      return ENTRIES.size();
    }
  }

  private static void forgetGone() {
    for (Reference<?> gone = GONE.poll(); gone != null; gone = GONE.poll()) {
      ENTRIES.remove(gone);
    }
  }

  private static final class Entry extends WeakReference<InputStream> {
    private final int hash;

    Entry(InputStream stream) {
      super(stream, GONE);
      this.hash = System.identityHashCode(stream);
    }

    @Override
    public int hashCode() {
      return hash;
    }

    @Override
    public boolean equals(Object other) {
      if (this == other) {
        return true;
      }
      InputStream stream = get();
      return stream != null && other instanceof Entry entry && entry.refersTo(stream);
    }
  }
}
