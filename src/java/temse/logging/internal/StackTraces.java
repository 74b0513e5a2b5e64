package temse.logging.internal;

import java.io.PrintWriter;
import java.io.Writer;

/** Stack traces as text of a bounded length, whatever an exception does when it is asked. */
public final class StackTraces {
  private static final String CUT = "\n...";

  private StackTraces() {}

  /**
   * {@return the stack trace as the JDK prints it}
   *
   * @param thrown an exception of anybody's
   * @param longest how many characters it may have; {@code ...} follows where it is cut
   */
  public static String of(Throwable thrown, int longest) {
    Bounded text = new Bounded(longest);
    try {
      thrown.printStackTrace(new PrintWriter(text));
    } catch (Throwable fullOrForeign) {
      text.builder.append(CUT);
    }
    return text.builder.toString();
  }

  /** Throws when it is full: a trace may have no end. */
  private static final class Bounded extends Writer {
    private final StringBuilder builder = new StringBuilder();
    private final int longest;

    Bounded(int longest) {
      this.longest = longest;
    }

    @Override
    public void write(char[] text, int offset, int length) {
      int room = Math.min(length, longest - builder.length());
      builder.append(text, offset, room);
      if (room < length) {
        throw new IllegalStateException("full");
      }
    }

    @Override
    public void flush() {}

    @Override
    public void close() {}
  }
}
