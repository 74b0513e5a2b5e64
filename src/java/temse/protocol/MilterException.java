package temse.protocol;

import clojure.lang.IExceptionInfo;
import clojure.lang.IPersistentMap;
import clojure.lang.Keyword;
import clojure.lang.PersistentArrayMap;
import java.util.Locale;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.jspecify.annotations.Nullable;

/**
 * The library's only exception: a category from a closed list, a message that says how to fix it,
 * and data.
 *
 * <p>Clojure reads it with {@code ex-data}: the category is under {@code :milter/error}.
 */
public final class MilterException extends RuntimeException implements IExceptionInfo {
  private static final long serialVersionUID = 1L;

  /** What kind of mistake it was. */
  public enum Category {
    /** An option of the server is wrong. */
    BAD_OPTIONS,
    /** The address cannot be listened on. */
    BIND_FAILED,
    /** A packet is not what the protocol says. */
    MALFORMED_PACKET,
    /** A packet announces more bytes than the limit. */
    PACKET_TOO_LARGE,
    /** A peer has sent more than a limit allows. */
    LIMIT_EXCEEDED,
    /** An event that is not legal in the state of the conversation. */
    UNEXPECTED_EVENT,
    /** The MTA speaks a version below 2. */
    VERSION_UNSUPPORTED,
    /** The MTA cannot send a needed event. */
    EVENTS_REFUSED,
    /** The MTA does not offer a needed action. */
    ACTIONS_REFUSED,
    /** An action map that cannot be sent. */
    BAD_ACTION,
    /** An action whose flag was not agreed. */
    ACTION_NOT_NEGOTIATED,
    /** An action that may not answer this event. */
    REPLY_NOT_ALLOWED,
    /** A second reply to one event. */
    DOUBLE_REPLY,
    /** An action after the reply. */
    LATE_ACTION,
    /** A context whose event is over was used to send. */
    STALE_CONTEXT,
    /** A handler returned something that means nothing. */
    BAD_HANDLER_RETURN,
    /** A pending value did not come in time. */
    HANDLER_TIMEOUT,
    /** The peer has gone. */
    CONNECTION_LOST;

    /** The category's keyword, {@code :bad-action} for example. */
    public final Keyword keyword =
        Keyword.intern(name().toLowerCase(Locale.ROOT).replace('_', '-'));
  }

  private static final Pattern KEYWORD =
      Pattern.compile("\"(?:[^\"\\\\]|\\\\.)*\"|(?<!\\w):([a-z][a-z-]*)\\??");

  /** What kind of error it is. */
  private final Category category;

  private final transient IPersistentMap data;

  /**
   * Makes an exception whose data are the given keys and values, in turn.
   *
   * @param category what kind of error it is
   * @param message what is wrong, and what would be right
   * @param keysAndValues keys as keywords, or as strings without a colon
   */
  public MilterException(Category category, String message, Object... keysAndValues) {
    this(category, message, (Throwable) null, keysAndValues);
  }

  /**
   * Makes an exception with a cause, whose data are the given keys and values, in turn.
   *
   * @param category what kind of error it is
   * @param message what is wrong, and what would be right
   * @param cause or null
   * @param keysAndValues keys as keywords, or as strings without a colon
   */
  public MilterException(
      Category category, String message, @Nullable Throwable cause, Object... keysAndValues) {
    super(message, cause);
    this.category = category;
    Object[] entries = new Object[2 + keysAndValues.length];
    entries[0] = Keys.ERROR;
    entries[1] = category.keyword;
    for (int i = 0; i < keysAndValues.length; i += 2) {
      entries[2 + i] =
          keysAndValues[i] instanceof String name ? Keyword.intern(name) : keysAndValues[i];
      entries[3 + i] = keysAndValues[i + 1];
    }
    this.data = new PersistentArrayMap(entries);
  }

  private MilterException(MilterException original, String message) {
    super(message, original.getCause());
    this.category = original.category;
    this.data = original.data;
    setStackTrace(original.getStackTrace());
    for (Throwable suppressed : original.getSuppressed()) {
      addSuppressed(suppressed);
    }
  }

  /**
   * {@return the same for those who write Java: messages are made with Clojure's keywords, which
   * become names as Java spells them, {@code addHeader} in place of {@code :add-header}} What is
   * quoted stays as it is.
   */
  public MilterException inJava() {
    String message =
        KEYWORD
            .matcher(getMessage())
            .replaceAll(
                found ->
                    Matcher.quoteReplacement(
                        found.group(1) == null ? found.group() : camelCase(found.group(1))));
    return message.equals(getMessage()) ? this : new MilterException(this, message);
  }

  private static String camelCase(String name) {
    return Pattern.compile("-(.)")
        .matcher(name.replaceFirst("^max-", "maximum-"))
        .replaceAll(next -> next.group(1).toUpperCase(Locale.ROOT));
  }

  /** {@return the category} */
  public Category category() {
    return category;
  }

  /** {@return the data, with the category's keyword under {@code :milter/error}} */
  @Override
  public IPersistentMap getData() {
    return data;
  }
}
