package temse.server.internal;

import java.util.Arrays;
import java.util.SplittableRandom;
import java.util.function.Function;

/**
 * Counts the header fields of a message by name, whose case does not matter, and their octets.
 *
 * <p>An open-addressing table. Names that have the same hash cannot be chosen on purpose, since it
 * is seeded anew in each process.
 */
final class HeaderCounter implements Function<String, Long> {
  private static final int SMALLEST = 64;
  private static final int LARGEST_KEPT = 512;
  private static final int LONGEST_RECENT = 32;
  private static final long SEED;
  private static final long MULTIPLIER;
  private static final byte[] LOWER_CASE = new byte[0x80];

  /** Hashes of names that were seen lately; the decoder returns the same string for most names. */
  private static final Hashed[] RECENT = new Hashed[512];

  static {
    for (int c = 0; c < LOWER_CASE.length; c++) {
      LOWER_CASE[c] = (byte) Character.toLowerCase(c);
    }
    SplittableRandom random = new SplittableRandom();
    SEED = random.nextLong();
    MULTIPLIER = random.nextLong() | 1;
  }

  private String[] names = new String[SMALLEST];

  /** The hash of the name in the upper half, its count in the lower. */
  private long[] entries = new long[SMALLEST];

  private int distinct;
  private int fields;
  private long octets;

  /** Forgets all fields; a table that has grown large is dropped. */
  void clear() {
    if (names.length > LARGEST_KEPT) {
      names = new String[SMALLEST];
      entries = new long[SMALLEST];
    } else if (distinct > 0) {
      Arrays.fill(names, null);
    }
    distinct = 0;
    fields = 0;
    octets = 0;
  }

  /** Counts a field by its name, and returns which one of that name it is, from 1. */
  @Override
  public Long apply(String name) {
    int hash = hash(name);
    int place = place(names, entries, name, hash);
    if (names[place] == null) {
      if (2 * (distinct + 1) > names.length) {
        grow();
        place = place(names, entries, name, hash);
      }
      names[place] = name;
      entries[place] = (long) hash << 32;
      distinct++;
    }
    entries[place]++;
    return entries[place] & 0xFFFFFFFFL;
  }

  /** Counts a field with the octets of its name and its value. */
  void add(long more) {
    fields++;
    octets += more;
  }

  /** Returns how many fields were counted. */
  int fields() {
    return fields;
  }

  /** Returns the octets of the fields that were counted. */
  long octets() {
    return octets;
  }

  /** Returns the place of the name, or that where it belongs. */
  private static int place(String[] names, long[] entries, String name, int hash) {
    int mask = names.length - 1;
    int place = hash & mask;
    for (String known = names[place]; known != null; known = names[place]) {
      if (known == name || (int) (entries[place] >>> 32) == hash && known.equalsIgnoreCase(name)) {
        return place;
      }
      place = place + 1 & mask;
    }
    return place;
  }

  private void grow() {
    String[] largerNames = new String[2 * names.length];
    long[] largerEntries = new long[largerNames.length];
    for (int i = 0; i < names.length; i++) {
      if (names[i] != null) {
        int place = (int) (entries[i] >>> 32) & largerNames.length - 1;
        while (largerNames[place] != null) {
          place = place + 1 & largerNames.length - 1;
        }
        largerNames[place] = names[i];
        largerEntries[place] = entries[i];
      }
    }
    names = largerNames;
    entries = largerEntries;
  }

  private record Hashed(String name, int hash) {}

  private static int hash(String name) {
    if (name.length() > LONGEST_RECENT) {
      return computedHash(name);
    }
    int place = name.hashCode() & RECENT.length - 1;
    Hashed recent = RECENT[place];
    if (recent == null || recent.name != name) {
      recent = new Hashed(name, computedHash(name));
      RECENT[place] = recent;
    }
    return recent.hash;
  }

  /** Returns the same number for names that {@link String#equalsIgnoreCase} takes as equal. */
  private static int computedHash(String name) {
    long hash = SEED;
    int i = 0;
    while (i < name.length()) {
      char c = name.charAt(i);
      if (c < LOWER_CASE.length) {
        hash = mixed(hash, LOWER_CASE[c]);
        i++;
      } else {
        int codePoint = name.codePointAt(i);
        hash = mixed(hash, Character.toLowerCase(Character.toUpperCase(codePoint)));
        i += Character.charCount(codePoint);
      }
    }
    return (int) (hash ^ hash >>> 32);
  }

  private static long mixed(long hash, int character) {
    long product = (hash ^ character) * MULTIPLIER;
    return product ^ product >>> 32;
  }
}
