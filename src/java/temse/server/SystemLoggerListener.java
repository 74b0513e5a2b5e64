package temse.server;

import clojure.lang.IPersistentMap;
import clojure.lang.Keyword;
import java.io.IOException;
import java.lang.System.Logger;
import java.lang.System.Logger.Level;
import java.util.Objects;
import java.util.function.Supplier;
import org.jspecify.annotations.Nullable;
import temse.protocol.Event;
import temse.protocol.EventType;
import temse.protocol.Keys;
import temse.protocol.MessageEndReason;
import temse.protocol.MilterException;
import temse.protocol.Printable;
import temse.server.internal.LastResort;

/**
 * Writes what happens in a server to a {@link System.Logger}: negotiations, ends and verdicts as
 * DEBUG, lost connections as INFO, broken protocol and refused connections as WARNING, failed
 * handlers as ERROR with their exception. A verdict comes with {@link ConnectionInfo#mail}. The
 * body of a mail is never written.
 *
 * <pre>{@code
 * MilterServer.builder(milter)
 *     .listener(new SystemLoggerListener(System.getLogger("spam-filter")))
 * }</pre>
 *
 * <p>A record is one line of at most 4,000 characters, in which control characters are escaped. (An
 * exception is passed to the logger as {@link Printable#throwable} makes it.) No method throws: if
 * the logger fails, this is reported on stderr, at most once in ten seconds.
 */
public final class SystemLoggerListener implements ServerListener {
  private static final int LONGEST = 4000;

  private final Logger logger;

  /** Makes a listener that writes to the logger named {@code temse}. */
  public SystemLoggerListener() {
    this(System.getLogger("temse"));
  }

  /**
   * Makes a listener that writes to the logger.
   *
   * @throws NullPointerException if the logger is null
   */
  public SystemLoggerListener(Logger logger) {
    this.logger = Objects.requireNonNull(logger, "logger");
  }

  @Override
  public void negotiated(ConnectionInfo connection) {
    log(Level.DEBUG, null, () -> who(connection) + " negotiated");
  }

  @Override
  public void closed(ConnectionInfo connection, @Nullable Throwable error) {
    if (isLoss(error)) {
      log(Level.INFO, null, () -> who(connection) + " closed: " + message(error));
    } else {
      log(Level.DEBUG, null, () -> who(connection) + " closed");
    }
  }

  @Override
  public void verdict(
      ConnectionInfo connection,
      @Nullable EventType event,
      @Nullable IPersistentMap reply,
      @Nullable MessageEndReason ended) {
    log(
        Level.DEBUG,
        null,
        () ->
            mail(connection)
                + (ended == null ? "" : " message " + ended.keyword.getName())
                + (event == null ? "" : " at " + event.keyword.getName())
                + (reply == null ? "" : ": " + replyText(reply)));
  }

  @Override
  public void violated(ConnectionInfo connection, MilterException error) {
    log(
        Level.WARNING,
        null,
        () ->
            who(connection)
                + " closed after a protocol error"
                + (error == null ? "" : " (" + error.category() + "): " + message(error)));
  }

  @Override
  public void failed(
      ConnectionInfo connection, EventType type, @Nullable IPersistentMap event, Throwable error) {
    log(
        Level.ERROR,
        error,
        () -> mail(connection) + " handler failed at " + description(type, event));
  }

  @Override
  public void refused(String peer, String why) {
    log(Level.WARNING, null, () -> "connection of " + peer + " refused: " + why);
  }

  @Override
  public void troubled(String what) {
    log(Level.WARNING, null, () -> what);
  }

  private void log(Level level, Throwable error, Supplier<String> text) {
    try {
      if (logger.isLoggable(level)) {
        logger.log(level, line(text), Printable.throwable(error));
      }
    } catch (Throwable problem) {
      LastResort.report("writing to the log", problem);
    }
  }

  private static String line(Supplier<String> text) {
    try {
      return Printable.of(text.get(), LONGEST);
    } catch (Throwable problem) {
      return "something happened that cannot be described: " + problem.getClass().getName();
    }
  }

  /** What else ends a connection is reported to {@link #violated} or {@link #failed}. */
  private static boolean isLoss(Throwable error) {
    return error instanceof IOException
        || error instanceof MilterException known
            && known.category() == MilterException.Category.CONNECTION_LOST;
  }

  private static String who(ConnectionInfo connection) {
    return connection == null
        ? "unknown connection"
        : "connection " + connection.id() + " of " + connection.peer();
  }

  private static String mail(ConnectionInfo connection) {
    String mail = connection == null ? "" : connection.mail();
    return who(connection) + (mail.isEmpty() ? "" : " " + mail);
  }

  private static String replyText(IPersistentMap reply) {
    Object code = reply.valAt(Keys.SMTP_CODE);
    Object enhanced = reply.valAt(Keys.ENHANCED_CODE);
    return name(reply.valAt(Keys.ACTION))
        + (code == null ? "" : " " + code)
        + (enhanced == null ? "" : " " + enhanced)
        + (reply.valAt(Keys.TEXT) instanceof String text ? " " + text : "")
        + (reply.valAt(Keys.WHY) instanceof String why ? " (" + why + ")" : "");
  }

  /** Returns the message of an exception, whose class may be a user's. */
  private static String message(Throwable error) {
    try {
      String message = error.getMessage();
      return message == null
          ? error.getClass().getName()
          : error instanceof MilterException ? MilterException.inJava(message) : message;
    } catch (Throwable problem) {
      return error.getClass().getName();
    }
  }

  private static String description(EventType type, IPersistentMap event) {
    try {
      return (type == null ? Event.of(event) : Event.view(type, event)).toString();
    } catch (Throwable problem) {
      return type == null ? "an unknown event" : type.keyword.getName();
    }
  }

  private static String name(Object action) {
    return action instanceof Keyword keyword ? keyword.getName() : String.valueOf(action);
  }
}
