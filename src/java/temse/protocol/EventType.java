package temse.protocol;

import clojure.lang.Keyword;
import org.jspecify.annotations.Nullable;

/**
 * What an MTA reports to a milter: libmilter's {@code SMFIC_*} commands, and the two events that
 * temse makes by itself.
 *
 * <p>{@link #DISCONNECT} comes once per SMTP client, from {@code SMFIC_QUIT_NC} or synthesised;
 * {@link #MESSAGE_END} comes once per message and never travels on the wire.
 */
public enum EventType {
  /** {@code SMFIC_OPTNEG}: the MTA's offer, first packet of a connection. */
  OPTIONS('O', "options", null, null, 2),
  /** {@code SMFIC_MACRO}: macro definitions for the command that follows. */
  DEFINE_MACRO('D', "define-macro", null, null, 2),
  /** {@code SMFIC_CONNECT}: an SMTP client has connected. */
  CONNECT('C', "connect", ProtocolFlag.NO_CONNECT, ProtocolFlag.NO_REPLY_CONNECT, 2),
  /** {@code SMFIC_HELO}: HELO or EHLO. */
  HELLO('H', "hello", ProtocolFlag.NO_HELLO, ProtocolFlag.NO_REPLY_HELLO, 2),
  /** {@code SMFIC_MAIL}: MAIL FROM; begins a message. */
  MAIL('M', "mail", ProtocolFlag.NO_MAIL, ProtocolFlag.NO_REPLY_MAIL, 2),
  /** {@code SMFIC_RCPT}: RCPT TO. */
  RECIPIENT('R', "recipient", ProtocolFlag.NO_RECIPIENT, ProtocolFlag.NO_REPLY_RECIPIENT, 2),
  /** {@code SMFIC_DATA}: DATA, since protocol version 4. */
  DATA('T', "data", ProtocolFlag.NO_DATA, ProtocolFlag.NO_REPLY_DATA, 4),
  /** {@code SMFIC_HEADER}: one header field. */
  HEADER('L', "header", ProtocolFlag.NO_HEADERS, ProtocolFlag.NO_REPLY_HEADERS, 2),
  /** {@code SMFIC_EOH}: end of the header. */
  END_OF_HEADERS(
      'N',
      "end-of-headers",
      ProtocolFlag.NO_END_OF_HEADERS,
      ProtocolFlag.NO_REPLY_END_OF_HEADERS,
      2),
  /** {@code SMFIC_BODY}: a piece of the body. */
  BODY('B', "body", ProtocolFlag.NO_BODY, ProtocolFlag.NO_REPLY_BODY, 2),
  /** {@code SMFIC_BODYEOB}: end of message, the only event that may be answered by changes. */
  END_OF_MESSAGE('E', "end-of-message", null, null, 2),
  /** {@code SMFIC_ABORT}: the current message is dropped. */
  ABORT('A', "abort", null, null, 2),
  /** {@code SMFIC_UNKNOWN}: an SMTP command the MTA does not know, since protocol version 3. */
  UNKNOWN('U', "unknown", ProtocolFlag.NO_UNKNOWN, ProtocolFlag.NO_REPLY_UNKNOWN, 3),
  /** {@code SMFIC_QUIT}: the connection ends. */
  QUIT('Q', "quit", null, null, 2),
  /** {@code SMFIC_QUIT_NC} or synthesised: the SMTP client is gone. */
  DISCONNECT('K', "disconnect", null, null, 6),
  /** Synthesised: a message has ended, whatever ended it. */
  MESSAGE_END('\0', "message-end", null, null, 2);

  private static final EventType[] VALUES = values();
  private static final EventType[] BY_CODE = new EventType[128];

  static {
    for (EventType type : VALUES) {
      if (type.code != 0) {
        BY_CODE[type.code] = type;
      }
    }
  }

  /** Command byte on the wire; 0 for an event that never travels. */
  public final byte code;

  /** Value of {@code :event} in event maps. */
  public final Keyword keyword;

  /** Protocol flag that keeps the MTA from sending it ({@code SMFIP_NO*}), or null. */
  public final @Nullable ProtocolFlag suppressedBy;

  /** Protocol flag under which it owes no reply ({@code SMFIP_NR_*}), or null. */
  public final @Nullable ProtocolFlag noReplyBy;

  /** First protocol version that has it. */
  public final int sinceVersion;

  EventType(
      char code,
      String name,
      @Nullable ProtocolFlag suppressedBy,
      @Nullable ProtocolFlag noReplyBy,
      int sinceVersion) {
    this.code = (byte) code;
    this.keyword = Keyword.intern(name);
    this.suppressedBy = suppressedBy;
    this.noReplyBy = noReplyBy;
    this.sinceVersion = sinceVersion;
  }

  /**
   * {@return the type of a command byte, or null if there is none}
   *
   * @param code such as {@code 'C'}
   */
  public static @Nullable EventType ofCode(byte code) {
    return code > 0 ? BY_CODE[code] : null;
  }

  /**
   * {@return the type whose keyword this is, or null}
   *
   * @param keyword such as {@code :header}
   */
  public static @Nullable EventType ofKeyword(@Nullable Object keyword) {
    for (EventType type : VALUES) {
      if (type.keyword == keyword) {
        return type;
      }
    }
    return null;
  }

  /** {@return true if the MTA waits for a reply, unless a no-reply flag was agreed} */
  public boolean owesReply() {
    return noReplyBy != null || this == END_OF_MESSAGE;
  }

  /** {@return true for the events of a message's envelope and content, MAIL to end of message} */
  public boolean inMessage() {
    return compareTo(MAIL) >= 0 && compareTo(END_OF_MESSAGE) <= 0;
  }
}
