package temse.protocol;

import clojure.lang.IPersistentMap;
import org.jspecify.annotations.Nullable;

/**
 * What an MTA may still send to a milter after the replies it got, and which reply settled the
 * message: an immutable value and its successors.
 *
 * <pre>{@code
 * MtaDialogue dialogue = MtaDialogue.SENDMAIL.after(EventType.CONNECT, null);
 * dialogue = dialogue.after(EventType.MAIL, Action.reject());
 * dialogue.may(EventType.RECIPIENT); // false
 * dialogue.verdict(); // REJECT
 * }</pre>
 */
public final class MtaDialogue implements Cloneable {
  /** That of a current Postfix, whose offer was answered. */
  public static final MtaDialogue POSTFIX = new MtaDialogue(true);

  /** That of a current Sendmail, whose offer was answered. */
  public static final MtaDialogue SENDMAIL = new MtaDialogue(false);

  /** A reply that settles something, and the event that it answered. */
  private record Decision(EventType at, IPersistentMap reply) {}

  private final boolean postfix;
  private boolean mailSuppressed;
  private Phase state = Phase.NEGOTIATED;
  private EventType skipped;
  private boolean recipientTold;
  private boolean recipientTaken;
  private Decision refusedRecipient;
  private Decision decision;

  private MtaDialogue(boolean postfix) {
    this.postfix = postfix;
  }

  /** {@return a dialogue without MAIL: any event of a message may begin one} */
  public MtaDialogue withoutMail() {
    MtaDialogue next = copy();
    next.mailSuppressed = true;
    return next;
  }

  /**
   * {@return true if the MTA may send the event now}
   *
   * @param type of the event
   */
  public boolean may(EventType type) {
    boolean content =
        type.compareTo(EventType.DATA) >= 0 && type.compareTo(EventType.END_OF_MESSAGE) <= 0;
    return switch (state) {
      case CLOSED -> false;
      case CONNECTION_SETTLED -> type == EventType.QUIT || type == EventType.DISCONNECT;
      case MESSAGE_SETTLED -> type == EventType.MAIL || !type.inMessage();
      default -> type != skipped && !(content && withoutRecipients());
    };
  }

  private boolean withoutRecipients() {
    return state.inMessage() && recipientTold && !recipientTaken;
  }

  /** {@return true if a message is in progress} */
  public boolean inMessage() {
    return state.inMessage();
  }

  /**
   * {@return true if the event ends the message in progress by aborting it}
   *
   * @param type of the event
   */
  public boolean aborts(EventType type) {
    return state.aborts(type);
  }

  /** {@return true if a reply has settled all that the SMTP client may still send} */
  public boolean isSettled() {
    return state == Phase.CONNECTION_SETTLED || state == Phase.CLOSED;
  }

  /**
   * {@return true if nothing more is sent: Postfix closes without a word after a verdict on the
   * SMTP connection or on its greeting}
   */
  public boolean isOver() {
    return state == Phase.CLOSED;
  }

  /** {@return true if the MTA sends ABORT when its client has nothing to add to the message} */
  public boolean endsWithAbort() {
    return !isSettled() && (postfix || state.inMessage() || keptWaiting());
  }

  /** Sendmail lets a milter wait whose reply has ended the message before its content. */
  private boolean keptWaiting() {
    return decision != null
        && (decision.at == EventType.RECIPIENT || decision.at == EventType.DATA)
        && verdict() != ActionType.ACCEPT;
  }

  /**
   * {@return true if the reply, null for none, refuses or defers what the client has said}
   *
   * @param reply an action map, or null
   */
  public static boolean refuses(IPersistentMap reply) {
    ActionType verdict = reply == null ? ActionType.CONTINUE : ActionCodec.verdict(reply);
    return verdict == ActionType.REJECT || verdict == ActionType.TEMPORARY_FAILURE;
  }

  /** {@return the verdict on the message, or on the connection; null while there is none} */
  public @Nullable ActionType verdict() {
    if (decided() == null) {
      return null;
    }
    ActionType verdict = ActionCodec.verdict(decided().reply);
    return verdict == ActionType.CONTINUE ? ActionType.ACCEPT : verdict;
  }

  /** {@return the event at which the verdict was given, or null} */
  public @Nullable EventType at() {
    return decided() == null ? null : decided().at;
  }

  /** {@return the action that is the verdict, or null} */
  public @Nullable IPersistentMap reply() {
    return decided() == null ? null : decided().reply;
  }

  private Decision decided() {
    return decision == null && withoutRecipients() ? refusedRecipient : decision;
  }

  /**
   * {@return the dialogue after an event and its reply}
   *
   * @param type of the event
   * @param reply an action, or null where none was owed
   * @throws MilterException UNEXPECTED_EVENT if no MTA sends the event here
   */
  public MtaDialogue after(EventType type, @Nullable IPersistentMap reply) {
    MtaDialogue next = copy();
    next.sent(type);
    next.answered(type, reply == null ? Action.proceed().map() : reply);
    return next;
  }

  /**
   * {@return the dialogue after the MTA has hung up on its client for a reason of its own}
   *
   * @param at the event at hand
   * @param reply what the client gets
   */
  public MtaDialogue hungUp(EventType at, IPersistentMap reply) {
    MtaDialogue next = closed();
    next.decision = new Decision(at, reply);
    return next;
  }

  /** {@return the dialogue after macros for MAIL, where they are all that is seen of it} */
  public MtaDialogue macrosOfMail() {
    return mailSuppressed && !isSettled() ? after(EventType.MAIL, null) : this;
  }

  /**
   * {@return the dialogue after an event that was not due: the end of a message stays its end}
   *
   * @param type of the event
   */
  public MtaDialogue leftOut(EventType type) {
    boolean ends = type == EventType.END_OF_MESSAGE && mailSuppressed && !isSettled();
    return ends ? after(EventType.ABORT, null) : this;
  }

  /** {@return true if the MTA hangs up on its client, as at a 421} */
  public boolean hangsUp() {
    return state == Phase.CONNECTION_SETTLED && hangsUp(decision.at, decision.reply);
  }

  /**
   * {@return true if the MTA hangs up on its client after a reply of this code}
   *
   * @param code of SMTP, such as 421
   */
  public boolean hangsUpAt(long code) {
    return code == 421 || postfix && code == 521;
  }

  /**
   * {@return the dialogue without the verdict on the message before, if that was all it settled}
   */
  public MtaDialogue between() {
    MtaDialogue next = copy();
    next.forget();
    return next;
  }

  /** {@return the dialogue after the connection has ended} */
  public MtaDialogue closed() {
    MtaDialogue next = copy();
    next.state = Phase.CLOSED;
    return next;
  }

  private void sent(EventType type) {
    boolean message = state.inMessage();
    state = state.after(type, mailSuppressed);
    if (type == EventType.MAIL || state.inMessage() && !message) {
      forget();
    } else if (type == EventType.DISCONNECT) {
      forget();
    } else if (postfix && type != skipped) {
      skipped = null;
    }
  }

  private void forget() {
    if (!isSettled()) {
      skipped = null;
      recipientTold = false;
      recipientTaken = false;
      refusedRecipient = null;
      decision = null;
    }
  }

  private void answered(EventType type, IPersistentMap reply) {
    ActionType verdict = ActionCodec.verdict(reply);
    Phase before = state;
    boolean ends = type == EventType.END_OF_MESSAGE && before.inMessage();
    state = before.settle(type, verdict);
    if (type == EventType.RECIPIENT) {
      recipient(verdict, reply);
    }
    if (verdict == ActionType.SKIP) {
      skip(type);
    } else if (before != Phase.CONNECTION_SETTLED && hangsUp(type, reply)) {
      state = Phase.CONNECTION_SETTLED;
    }
    if (state != before || ends) {
      decision = new Decision(type, verdict == ActionType.SKIP ? Action.proceed().map() : reply);
    }
    boolean greeting = type == EventType.CONNECT || type == EventType.HELLO;
    if (postfix && greeting && state == Phase.CONNECTION_SETTLED) {
      state = Phase.CLOSED;
    }
  }

  private void recipient(ActionType verdict, IPersistentMap reply) {
    boolean refused = refuses(reply);
    boolean deferredBefore =
        refusedRecipient != null
            && ActionCodec.verdict(refusedRecipient.reply) == ActionType.TEMPORARY_FAILURE;
    recipientTold = true;
    recipientTaken |= !refused;
    if (refused
        && (refusedRecipient == null
            || verdict == ActionType.TEMPORARY_FAILURE && !deferredBefore)) {
      refusedRecipient = new Decision(EventType.RECIPIENT, reply);
    }
  }

  /**
   * Postfix leaves out further events of the kind. Sendmail leaves out the body after the header
   * has begun; before, the milter gets nothing more on the connection.
   */
  private void skip(EventType type) {
    if (postfix || type.compareTo(EventType.HEADER) >= 0) {
      skipped = postfix ? type : EventType.BODY;
    } else {
      state = Phase.CONNECTION_SETTLED;
    }
  }

  /**
   * Both MTAs hang up at a 421, Postfix at a 521, too; at connect Sendmail takes a 421 of several
   * lines for a deferral.
   */
  private boolean hangsUp(EventType type, IPersistentMap reply) {
    ActionType action = ActionCodec.type(reply);
    if (action != ActionType.REPLY_CODE) {
      return action == ActionType.SHUTDOWN || action == ActionType.CONNECTION_FAILURE;
    }
    boolean lines = String.valueOf(reply.valAt(Keys.TEXT)).indexOf('\n') >= 0;
    long code = ActionFields.smtpCode(reply);
    return hangsUpAt(code) && (postfix || type != EventType.CONNECT || !lines);
  }

  private MtaDialogue copy() {
    try {
      return (MtaDialogue) clone();
    } catch (CloneNotSupportedException e) {
      throw new AssertionError(e);
    }
  }
}
