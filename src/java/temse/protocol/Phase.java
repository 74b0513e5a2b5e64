package temse.protocol;

/**
 * Where a conversation stands, seen from the milter: an immutable state and its successors.
 *
 * <p>It is libmilter's table of transitions without its traps: what libmilter silently ignores is
 * either tolerated or an error here, so that no MTA waits for a reply that never comes.
 */
public enum Phase {
  /** Nothing was sent. */
  START,
  /** The options are agreed; no SMTP client has connected. */
  NEGOTIATED,
  /** Between messages. */
  CONNECTED,
  /** In a message, before its first header field. */
  ENVELOPE,
  /** Among the header fields. */
  HEADERS,
  /** After the end of the header. */
  BODY,
  /** In a message that a reply has ended; the MTA owes nothing more of it. */
  MESSAGE_SETTLED,
  /** A reply has ended the filter's part in the whole SMTP connection. */
  CONNECTION_SETTLED,
  /** Over. */
  CLOSED;

  /** {@return true if a message is in progress} */
  public boolean inMessage() {
    return this == ENVELOPE || this == HEADERS || this == BODY;
  }

  /**
   * {@return true if the event ends the message in progress by aborting it}
   *
   * @param type of the event
   */
  public boolean aborts(EventType type) {
    return inMessage()
        && switch (type) {
          case HELLO, MAIL, ABORT, QUIT, DISCONNECT -> true;
          default -> false;
        };
  }

  /**
   * {@return the state after the event has arrived}
   *
   * @param type of the event
   * @param mailSuppressed true if the MTA was asked not to send MAIL, so that any event of a
   *     message may begin one
   * @throws MilterException UNEXPECTED_EVENT if the event is not legal here
   */
  public Phase after(EventType type, boolean mailSuppressed) {
    if (this == CLOSED || (this == START) != (type == EventType.OPTIONS)) {
      throw unexpected(type);
    }
    return switch (type) {
      case OPTIONS -> NEGOTIATED;
      case DEFINE_MACRO, UNKNOWN, MESSAGE_END -> this;
      case CONNECT -> {
        if (this != NEGOTIATED) {
          throw unexpected(type);
        }
        yield CONNECTED;
      }
      case HELLO -> this == CONNECTION_SETTLED ? this : CONNECTED;
      case ABORT -> this == NEGOTIATED || this == CONNECTION_SETTLED ? this : CONNECTED;
      case MAIL -> this == CONNECTION_SETTLED ? this : ENVELOPE;
      case RECIPIENT, DATA, HEADER, END_OF_HEADERS, BODY, END_OF_MESSAGE ->
          inMessage() ? afterContent(type) : beginning(type, mailSuppressed);
      case QUIT -> CLOSED;
      case DISCONNECT -> NEGOTIATED;
    };
  }

  private Phase afterContent(EventType type) {
    Phase next =
        switch (type) {
          case RECIPIENT, DATA -> ENVELOPE;
          case HEADER -> HEADERS;
          default -> BODY;
        };
    boolean repeated = type == EventType.END_OF_HEADERS && this == BODY;
    if (next.compareTo(this) < 0 || repeated) {
      throw unexpected(type);
    }
    return next;
  }

  private Phase beginning(EventType type, boolean mailSuppressed) {
    if (this == CONNECTION_SETTLED || this == MESSAGE_SETTLED && !mailSuppressed) {
      return this;
    }
    if (!mailSuppressed) {
      throw unexpected(type);
    }
    return ENVELOPE.afterContent(type);
  }

  /**
   * {@return the state after the reply to the event has been given}
   *
   * @param type of the event
   * @param reply the class of the reply: continue, accept, reject, temporary failure (which stand
   *     for reply codes of their class, too), discard or skip
   */
  public Phase settle(EventType type, ActionType reply) {
    boolean goesOn = reply == ActionType.CONTINUE || reply == ActionType.SKIP;
    return switch (type) {
      case CONNECT, HELLO -> goesOn ? this : CONNECTION_SETTLED;
      case END_OF_MESSAGE -> inMessage() ? CONNECTED : this;
      case RECIPIENT -> {
        boolean endsMessage = reply == ActionType.ACCEPT || reply == ActionType.DISCARD;
        yield endsMessage && inMessage() ? MESSAGE_SETTLED : this;
      }
      case MAIL, DATA, HEADER, END_OF_HEADERS, BODY ->
          goesOn || !inMessage() ? this : MESSAGE_SETTLED;
      default -> this;
    };
  }

  private MilterException unexpected(EventType type) {
    return new MilterException(
        MilterException.Category.UNEXPECTED_EVENT,
        "the event " + type.keyword + " is not legal in state " + this,
        Keys.EVENT,
        type.keyword,
        "state",
        name());
  }
}
