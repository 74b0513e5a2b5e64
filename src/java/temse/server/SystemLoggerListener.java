package temse.server;

import java.io.IOException;
import java.lang.System.Logger;
import java.lang.System.Logger.Level;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Objects;
import java.util.OptionalInt;
import java.util.function.Consumer;
import java.util.function.Supplier;
import org.jspecify.annotations.Nullable;
import temse.protocol.Action;
import temse.protocol.Event;
import temse.protocol.EventType;
import temse.protocol.MessageEndReason;
import temse.protocol.MilterException;
import temse.protocol.Printable;
import temse.server.internal.LastResort;
import temse.server.internal.LogFields;

/**
 * Writes what happens in a server to a {@link System.Logger}: negotiations, ends and verdicts as
 * DEBUG, lost connections as INFO, broken protocol, refused connections, and those that keep a
 * milter which was replaced as WARNING, failed handlers as ERROR with their exception. A verdict
 * comes with {@link ConnectionInfo#mail}. The body of a mail is never written.
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
   * @param logger such as {@code System.getLogger("my.filter")}
   * @throws NullPointerException if the logger is null
   */
  public SystemLoggerListener(Logger logger) {
    this.logger = Objects.requireNonNull(logger, "logger");
  }

  @Override
  public void negotiated(ConnectionInfo connection) {
    log(Level.DEBUG, null, about(connection), () -> who(connection) + " negotiated");
  }

  @Override
  public void probed(ConnectionInfo connection, String what) {
    log(Level.DEBUG, null, about(connection), () -> who(connection) + " was no MTA's: " + what);
  }

  @Override
  public void closed(ConnectionInfo connection, @Nullable Throwable error) {
    if (isLoss(error)) {
      log(
          Level.INFO,
          null,
          about(connection),
          () -> who(connection) + " closed: " + message(error));
    } else {
      log(Level.DEBUG, null, about(connection), () -> who(connection) + " closed");
    }
  }

  @Override
  public void verdict(
      ConnectionInfo connection,
      @Nullable EventType event,
      Action.@Nullable Reply reply,
      @Nullable MessageEndReason ended) {
    log(
        Level.DEBUG,
        null,
        fields -> {
          LogFields.addConnection(fields, connection);
          LogFields.addVerdict(fields, event, reply, ended);
        },
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
        about(connection),
        () ->
            who(connection)
                + " closed after a protocol error"
                + (error == null ? "" : " (" + error.category() + "): " + message(error)));
  }

  @Override
  public void failed(
      ConnectionInfo connection, EventType type, @Nullable Event event, Throwable error) {
    log(
        Level.ERROR,
        error,
        fields -> {
          LogFields.addConnection(fields, connection);
          LogFields.addEvent(fields, type);
        },
        () -> mail(connection) + " handler failed at " + description(type, event));
  }

  @Override
  public void outdated(OutdatedConnection connection) {
    log(
        Level.WARNING,
        connection == null ? null : connection.failure(),
        fields -> {
          fields.put("connection", connection.id());
          fields.put("peer", connection.peer());
        },
        () ->
            "connection "
                + connection.id()
                + " of "
                + connection.peer()
                + " keeps its milter: "
                + (connection.failure() == null
                    ? "it lacks " + connection.missing()
                    : "the new one has failed"));
  }

  @Override
  public void refused(String peer, String why) {
    log(
        Level.WARNING,
        null,
        fields -> fields.put("peer", peer),
        () -> "connection of " + peer + " refused: " + why);
  }

  @Override
  public void troubled(String what) {
    log(Level.WARNING, null, fields -> {}, () -> what);
  }

  private static Consumer<Map<String, Object>> about(ConnectionInfo connection) {
    return fields -> LogFields.addConnection(fields, connection);
  }

  private void log(
      Level level, Throwable error, Consumer<Map<String, Object>> fields, Supplier<String> text) {
    try {
      if (logger.isLoggable(level)) {
        LogFields.during(
            () -> {
              Map<String, Object> all = new LinkedHashMap<>();
              fields.accept(all);
              return all;
            },
            () -> logger.log(level, line(text), Printable.throwable(error)));
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

  private static String replyText(Action.Reply reply) {
    OptionalInt code = reply.smtpCode();
    return reply.type().keyword.getName()
        + (code.isPresent() ? " " + code.getAsInt() : "")
        + reply.enhancedCode().map(enhanced -> " " + enhanced).orElse("")
        + reply.text().map(text -> " " + text).orElse("")
        + reply.why().map(why -> " (" + why + ")").orElse("");
  }

  /** {@return the message of an exception, whose class may be a user's} */
  private static String message(Throwable error) {
    try {
      String message = error.getMessage();
      return message == null ? error.getClass().getName() : message;
    } catch (Throwable problem) {
      return error.getClass().getName();
    }
  }

  private static String description(EventType type, Event event) {
    try {
      return event.toString();
    } catch (Throwable problem) {
      return type == null ? "an unknown event" : type.keyword.getName();
    }
  }
}
