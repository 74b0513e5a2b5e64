package temse.protocol;

import clojure.lang.Keyword;

/**
 * The keywords of event maps, action maps and error data.
 *
 * <p>Keywords of events, actions, flags and macro stages are held by their enums: {@link
 * EventType#keyword}, {@link ActionType#keyword}, {@link ActionFlag#keyword}, {@link
 * ProtocolFlag#keyword}, {@link MacroStage#keyword}, {@link AddressFamily#keyword}, {@link
 * MessageEndReason#keyword}, {@link DisconnectReason#keyword}.
 */
public final class Keys {
  /** The type of an event: a keyword such as {@code :header}. */
  public static final Keyword EVENT = Keyword.intern("event");

  /** The type of an action: a keyword such as {@code :add-header}. */
  public static final Keyword ACTION = Keyword.intern("action");

  /** The protocol version of an offer or of its answer: a number. */
  public static final Keyword VERSION = Keyword.intern("version");

  /** The actions offered or agreed: a set of keywords. */
  public static final Keyword ACTIONS = Keyword.intern("actions");

  /** The protocol flags offered or agreed: a set of keywords. */
  public static final Keyword PROTOCOL = Keyword.intern("protocol");

  /** The actions offered or agreed, as bits: a number. */
  public static final Keyword ACTION_MASK = Keyword.intern("action-mask");

  /** The protocol flags offered or agreed, as bits: a number. */
  public static final Keyword PROTOCOL_MASK = Keyword.intern("protocol-mask");

  /** The macros asked for: a map of stage to a vector of names. */
  public static final Keyword MACROS = Keyword.intern("macros");

  /** The stage that macros are defined for: a keyword, or nil if unknown. */
  public static final Keyword STAGE = Keyword.intern("stage");

  /** The SMTP command that the MTA does not know; with macros, the code of their command. */
  public static final Keyword COMMAND = Keyword.intern("command");

  /** The macros: a map of name to value. */
  public static final Keyword DEFINITIONS = Keyword.intern("definitions");

  /** The SMTP client's name, or its address in brackets. */
  public static final Keyword HOST_NAME = Keyword.intern("host-name");

  /**
   * The SMTP client's address family: {@code :inet}, {@code :inet6}, {@code :unix} or {@code
   * :unknown}.
   */
  public static final Keyword FAMILY = Keyword.intern("family");

  /** The SMTP client's port: a number. */
  public static final Keyword PORT = Keyword.intern("port");

  /** The SMTP client's address, or that of a recipient or sender as in SMTP. */
  public static final Keyword ADDRESS = Keyword.intern("address");

  /** The argument of HELO or EHLO. */
  public static final Keyword GREETING = Keyword.intern("greeting");

  /** The address of the sender, as in MAIL FROM. */
  public static final Keyword SENDER = Keyword.intern("sender");

  /** The ESMTP parameters of an event: a vector of strings. */
  public static final Keyword OPTIONS = Keyword.intern("options");

  /** The name of a header field, without the colon. */
  public static final Keyword NAME = Keyword.intern("name");

  /** The value of a header field, its lines separated by LF. */
  public static final Keyword VALUE = Keyword.intern("value");

  /** Which header field of its name is meant, from 1. */
  public static final Keyword INDEX = Keyword.intern("index");

  /** A piece of a body: bytes. */
  public static final Keyword DATA = Keyword.intern("data");

  /** Why a message or SMTP client ended, a keyword; why a message is held, a string. */
  public static final Keyword REASON = Keyword.intern("reason");

  /** The event that a message had reached when it ended: a keyword. */
  public static final Keyword AT = Keyword.intern("at");

  /** The code of a reply: a number from 400 to 599. */
  public static final Keyword SMTP_CODE = Keyword.intern("smtp-code");

  /** The enhanced status code of a reply, such as {@code "5.7.1"}. */
  public static final Keyword ENHANCED_CODE = Keyword.intern("enhanced-code");

  /** The text of a reply, its lines separated by LF. */
  public static final Keyword TEXT = Keyword.intern("text");

  /** Where a header field is inserted among all fields, 0 being the top. */
  public static final Keyword POSITION = Keyword.intern("position");

  /** A new body, or that of a mail. */
  public static final Keyword BODY = Keyword.intern("body");

  /** The ESMTP parameters of an action: a vector of strings. */
  public static final Keyword PARAMETERS = Keyword.intern("parameters");

  /** Why a filter acts like this: data of any kind for logs and reports, never sent. */
  public static final Keyword WHY = Keyword.intern("why");

  /** The facts that a milter asks for: an option. */
  static final Keyword WANTS = Keyword.intern("wants");

  /** Which of several filters acts, in a reason: a string. */
  public static final Keyword FILTER = Keyword.intern("filter");

  /** The action that settles a message, or that an MTA gives in a milter's place. */
  public static final Keyword REPLY = Keyword.intern("reply");

  /** The recipients of a mail: a vector of addresses; in a report, a map of address to reply. */
  public static final Keyword RECIPIENTS = Keyword.intern("recipients");

  /** The header fields of a mail: a vector of {@code [name value]}. */
  public static final Keyword HEADERS = Keyword.intern("headers");

  /** In an exchange, the actions that answered the event: a vector. */
  public static final Keyword RESPONSE = Keyword.intern("response");

  /** In an exchange, the time from the event to its answer, in nanoseconds. */
  public static final Keyword NANOS = Keyword.intern("nanos");

  /** In a report or an exchange, what the protocol does not say: a vector of maps. */
  public static final Keyword REMARKS = Keyword.intern("remarks");

  /** The kind of a remark: a keyword. */
  public static final Keyword REMARK = Keyword.intern("remark");

  /** In a report, the verdict on a message: a keyword such as {@code :accept}. */
  public static final Keyword VERDICT = Keyword.intern("verdict");

  /** In a report, the changes to a message: a vector of actions. */
  public static final Keyword MODIFICATIONS = Keyword.intern("modifications");

  /** In a report, all exchanges: a vector. */
  public static final Keyword CONVERSATION = Keyword.intern("conversation");

  /** In a report, who closed a connection that died: {@code :mta} or {@code :milter}. */
  public static final Keyword CLOSED_BY = Keyword.intern("closed-by");

  /** The MTA, as the one who closed a connection. */
  public static final Keyword MTA = Keyword.intern("mta");

  /** The milter, as the one who closed a connection. */
  public static final Keyword MILTER = Keyword.intern("milter");

  /** What went wrong: a string. */
  public static final Keyword PROBLEM = Keyword.intern("problem");

  /** In a report, what handlers have thrown: a vector of maps. */
  public static final Keyword ERRORS = Keyword.intern("errors");

  /** In an error of a report, the number of exchanges before it. */
  public static final Keyword EXCHANGE = Keyword.intern("exchange");

  /** The ESMTP parameters of the recipients of a mail: a vector of vectors. */
  public static final Keyword RECIPIENT_OPTIONS = Keyword.intern("recipient-options");

  /** The key under which {@code ex-data} of each of the library's exceptions holds its category. */
  public static final Keyword ERROR = Keyword.intern("milter", "error");

  /** Metadata key of an event map that holds the packet's exact payload. */
  public static final Keyword PAYLOAD = Keyword.intern("milter", "payload");

  private Keys() {}
}
