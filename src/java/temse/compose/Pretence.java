package temse.compose;

import java.lang.System.Logger;
import java.lang.System.Logger.Level;
import java.util.Objects;
import java.util.function.Consumer;
import temse.protocol.Action;
import temse.protocol.Printable;

/**
 * What is done with the answers of a filter that only pretends, in place of giving them: a line in
 * the log, or a function. See {@link Filter#pretend}. Immutable.
 *
 * @param report receives each verdict and modification that the filter would have answered with; it
 *     is called by many threads at once, and what it throws defers the message
 * @param marks whether each becomes a header field of the message, such as {@code X-Would-Reject:
 *     at mail by spf: no record}
 */
public record Pretence(Consumer<? super Pretended> report, boolean marks) {
  private static final int LONGEST = 2000;

  /** Each is a line of the {@link System.Logger} named {@code temse}, at the level INFO. */
  public static final Pretence LOGGED = new Pretence(Pretence::log, false);

  /**
   * Checks that there is a report.
   *
   * @param report not null
   * @param marks whether header fields are made of them, too
   */
  public Pretence {
    Objects.requireNonNull(report, "report");
  }

  /**
   * {@return a pretence that reports to a function instead}
   *
   * @param other called for each action that is pretended
   */
  public Pretence reportTo(Consumer<? super Pretended> other) {
    return new Pretence(other, marks);
  }

  /** {@return a pretence that also makes header fields of them} */
  public Pretence withFields() {
    return new Pretence(report, true);
  }

  private static void log(Pretended note) {
    Logger logger = System.getLogger("temse");
    String line =
        note.filter()
            + " would answer "
            + note.at().keyword.getName()
            + " with "
            + note.verdict()
            + replyText(note.action())
            + note.action().why().map(why -> " (" + why + ")").orElse("")
            + " "
            + note.mail();
    logger.log(Level.INFO, Printable.of(line, LONGEST));
  }

  private static String replyText(Action action) {
    return action instanceof Action.Reply reply && reply.smtpCode().isPresent()
        ? ": "
            + reply.smtpCode().getAsInt()
            + reply.enhancedCode().map(code -> " " + code).orElse("")
            + reply.text().map(text -> " " + text).orElse("")
        : "";
  }
}
