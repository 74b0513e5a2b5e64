package temse.protocol;

import java.util.Arrays;
import java.util.Collections;
import java.util.IdentityHashMap;
import java.util.Set;

/**
 * Stands for an exception whose message, or that of one of its causes, could steer a terminal or
 * pass for lines of a log, or whose stack trace has hundreds of lines: with the ends of its stack
 * trace, and a printable message that begins with the name of its class.
 */
final class PrintableException extends Exception {
  private static final long serialVersionUID = 1;
  private static final int LONGEST = 2000;
  private static final int DEEPEST = 20;
  private static final int MANY_FRAMES = 200;
  private static final int FIRST_FRAMES = 60;
  private static final int LAST_FRAMES = 40;

  /** Stands for an exception of which nothing can be had but its text. */
  private PrintableException(Throwable stranger) {
    super(text(stranger), null, false, false);
  }

  private PrintableException(Throwable stranger, Throwable cause) {
    super(text(stranger), cause);
    setStackTrace(shortened(stranger.getStackTrace()));
  }

  private static StackTraceElement[] shortened(StackTraceElement[] trace) {
    if (trace.length <= MANY_FRAMES) {
      return trace;
    }
    StackTraceElement[] ends = Arrays.copyOf(trace, FIRST_FRAMES + LAST_FRAMES);
    System.arraycopy(trace, trace.length - LAST_FRAMES, ends, FIRST_FRAMES, LAST_FRAMES);
    return ends;
  }

  /** Returns the exception itself if all of its messages are printable and its traces short. */
  static Throwable of(Throwable stranger) {
    try {
      Set<Throwable> seen = Collections.newSetFromMap(new IdentityHashMap<>());
      return isPrintable(stranger, seen) ? stranger : copy(stranger, 0);
    } catch (Throwable itsMethodsFail) {
      return new PrintableException(stranger);
    }
  }

  private static boolean isPrintable(Throwable stranger, Set<Throwable> seen) {
    if (stranger == null || !seen.add(stranger)) {
      return true;
    }
    if (seen.size() > DEEPEST
        || stranger.getStackTrace().length > MANY_FRAMES
        || !text(stranger).equals(plainText(stranger))) {
      return false;
    }
    for (Throwable suppressed : stranger.getSuppressed()) {
      if (!isPrintable(suppressed, seen)) {
        return false;
      }
    }
    return isPrintable(stranger.getCause(), seen);
  }

  private static Throwable copy(Throwable stranger, int depth) {
    if (stranger == null || depth == DEEPEST) {
      return null;
    }
    PrintableException copy =
        new PrintableException(stranger, copy(stranger.getCause(), depth + 1));
    Throwable[] suppressed = stranger.getSuppressed();
    for (int i = 0; i < Math.min(suppressed.length, DEEPEST - depth); i++) {
      copy.addSuppressed(copy(suppressed[i], DEEPEST - 1));
    }
    return copy;
  }

  private static String text(Throwable stranger) {
    return Printable.of((Object) stranger, LONGEST);
  }

  private static String plainText(Throwable stranger) {
    try {
      return stranger.toString();
    } catch (Throwable problem) {
      return null;
    }
  }

  /** The message begins with the name of the class that it stands for. */
  @Override
  public String toString() {
    return getMessage();
  }
}
