package temse.server.internal;

import java.io.IOException;
import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import temse.protocol.MilterException;

/** What goes wrong at random, and what must never have gone wrong: {@link #broken}. */
final class Chaos {
  final Random random;

  /** Rules that were broken where an exception would be taken for one of the handler's. */
  final List<String> broken = new ArrayList<>();

  /** Nothing is thrown until it is set: one in so many calls fails. */
  int oneIn;

  Chaos(Random random) {
    this.random = random;
  }

  boolean oneIn(int calls) {
    return random.nextInt(calls) == 0;
  }

  <T> T any(List<T> values) {
    return values.get(random.nextInt(values.size()));
  }

  /** Throws anything, sometimes. */
  void maybeThrow() {
    if (oneIn > 0 && oneIn(oneIn)) {
      throw raised();
    }
  }

  /** Throws anything. */
  RuntimeException raised() {
    return Chaos.raise(anything());
  }

  Throwable anything() {
    return switch (random.nextInt(8)) {
      case 0 -> new StackOverflowError("at random");
      case 1 -> new OutOfMemoryError("at random");
      case 2 -> new AssertionError("at random");
      case 3 -> new IOException("sneaked at random");
      case 4 -> new InterruptedException("sneaked at random");
      case 5 -> new MilterException(MilterException.Category.MALFORMED_PACKET, "at random");
      case 6 -> new NoClassDefFoundError("at random");
      default -> new IllegalStateException("at random");
    };
  }

  void check(boolean holds, String rule) {
    if (!holds) {
      broken.add(rule);
    }
  }

  @SuppressWarnings("unchecked")
  static <E extends Throwable> RuntimeException raise(Throwable error) throws E {
    throw (E) error;
  }
}
