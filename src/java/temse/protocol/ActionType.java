package temse.protocol;

import clojure.lang.Keyword;
import org.jspecify.annotations.Nullable;

/** What a milter sends to the MTA: libmilter's {@code SMFIR_*} replies. */
public enum ActionType {
  /** {@code SMFIR_CONTINUE}: go on. */
  CONTINUE('c', "continue", Kind.REPLY, null),
  /** {@code SMFIR_ACCEPT}: accept without further filtering. */
  ACCEPT('a', "accept", Kind.REPLY, null),
  /** {@code SMFIR_REJECT}: refuse with the MTA's own 5xx text. */
  REJECT('r', "reject", Kind.REPLY, null),
  /** {@code SMFIR_TEMPFAIL}: defer with the MTA's own 4xx text. */
  TEMPORARY_FAILURE('t', "temporary-failure", Kind.REPLY, null),
  /** {@code SMFIR_DISCARD}: accept and throw away. */
  DISCARD('d', "discard", Kind.REPLY, null),
  /** {@code SMFIR_SKIP}: no more events of this kind in this message. */
  SKIP('s', "skip", Kind.REPLY, null),
  /** {@code SMFIR_REPLYCODE}: a 4xx or 5xx reply with a text of its own. */
  REPLY_CODE('y', "reply-code", Kind.REPLY, null),
  /** {@code SMFIR_SHUTDOWN}: reserved; sent as a 421 reply code. */
  SHUTDOWN('4', "shutdown", Kind.REPLY, null),
  /** {@code SMFIR_CONN_FAIL}: reserved; sent as a 421 reply code. */
  CONNECTION_FAILURE('f', "connection-failure", Kind.REPLY, null),
  /** {@code SMFIR_ADDHEADER}, or {@code SMFIR_INSHEADER} ('i') where a position is given. */
  ADD_HEADER('h', "add-header", Kind.MODIFICATION, ActionFlag.ADD_HEADER),
  /** {@code SMFIR_CHGHEADER}: changes a header field, or deletes it where the value is nil. */
  CHANGE_HEADER('m', "change-header", Kind.MODIFICATION, ActionFlag.CHANGE_HEADER),
  /** {@code SMFIR_REPLBODY}: replaces the body. */
  CHANGE_BODY('b', "change-body", Kind.MODIFICATION, ActionFlag.CHANGE_BODY),
  /** {@code SMFIR_ADDRCPT}, or {@code SMFIR_ADDRCPT_PAR} ('2') where parameters are given. */
  ADD_RECIPIENT('+', "add-recipient", Kind.MODIFICATION, ActionFlag.ADD_RECIPIENT),
  /** {@code SMFIR_DELRCPT}: deletes a recipient. */
  DELETE_RECIPIENT('-', "delete-recipient", Kind.MODIFICATION, ActionFlag.DELETE_RECIPIENT),
  /** {@code SMFIR_CHGFROM}: replaces the envelope sender. */
  CHANGE_SENDER('e', "change-sender", Kind.MODIFICATION, ActionFlag.CHANGE_SENDER),
  /** {@code SMFIR_QUARANTINE}: holds the message. */
  QUARANTINE('q', "quarantine", Kind.MODIFICATION, ActionFlag.QUARANTINE),
  /** {@code SMFIR_PROGRESS}: work goes on, keep waiting. */
  PROGRESS('p', "progress", Kind.PROGRESS, null);

  /** The part an action plays in a response. */
  public enum Kind {
    /** Settles the event; exactly one, the last of the response. */
    REPLY,
    /** Changes the message; at end of message only. */
    MODIFICATION,
    /** Neither: asks the MTA to keep waiting. */
    PROGRESS
  }

  /** Reply byte on the wire. */
  public final byte code;

  /** Value of {@code :action} in action maps. */
  public final Keyword keyword;

  /** The part it plays in a response. */
  public final Kind kind;

  /** The flag that must have been agreed before it may be sent, or null. */
  public final @Nullable ActionFlag flag;

  ActionType(char code, String name, Kind kind, @Nullable ActionFlag flag) {
    this.code = (byte) code;
    this.keyword = Keyword.intern(name);
    this.kind = kind;
    this.flag = flag;
  }

  /**
   * {@return the type whose keyword this is, or null}
   *
   * @param keyword such as {@code :add-header}
   */
  public static @Nullable ActionType ofKeyword(@Nullable Object keyword) {
    for (ActionType type : VALUES) {
      if (type.keyword == keyword) {
        return type;
      }
    }
    return null;
  }

  private static final ActionType[] VALUES = values();
}
