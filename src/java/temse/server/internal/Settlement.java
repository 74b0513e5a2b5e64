package temse.server.internal;

import clojure.lang.IPersistentMap;
import java.util.List;
import java.util.Objects;
import temse.protocol.Action;
import temse.protocol.ActionType;
import temse.protocol.BodyPieces;
import temse.protocol.EventType;
import temse.protocol.Keys;
import temse.protocol.MessageEndReason;
import temse.protocol.MilterException;
import temse.server.internal.Entry.Way;
import temse.server.internal.Reports.States;

/**
 * One event on its way to its reply: its handler is called, or the error policy in its place; what
 * they answer is written; and {@link #settle} draws the consequences.
 *
 * <p>All of it belongs to the thread that serves the connection. Foreign code runs between enter
 * and leave of the link, and whatever it throws defers the mail.
 */
final class Settlement {
  /** The kind of foreign code that reads a new body, beside the ordinals of events. */
  private static final int BODY = 33;

  private final ConnectionState state;
  private final Entry entry;
  private final EventType type;
  private final Throwable fault;
  private final boolean refused;
  private final Answer answer;
  private boolean observed;
  private boolean timed;
  private long startedAt;
  private States states = States.NONE;
  private Throwable failure;
  private EventCall call;

  /** The call that the handler has seen; the error policy gets one of its own. */
  private EventCall seen;

  private boolean over;

  /** Looks at an entry whose turn it is; nothing happens yet. */
  Settlement(ConnectionState state, Entry entry) {
    this.state = state;
    this.entry = entry;
    this.type = entry.type();
    this.answer = state.answer;
    Throwable noted = state.ledger.fault(type);
    boolean exceeds = noted == null && entry.way() == Way.EXCEED;
    this.refused = exceeds && type == EventType.RECIPIENT && state.mayDecide(type);
    this.fault = exceeds && !refused ? entry.excess() : noted;
  }

  /** Begins, or returns false if that must be on another thread: then nothing has happened. */
  boolean begin() {
    boolean calls = fault == null && isCall();
    boolean decides = fault != null && state.mayDecide(type);
    boolean foreign = calls || decides || state.endsScope(type);
    if (foreign && !state.link.enter(type.ordinal())) {
      return false;
    }
    try {
      begun();
      if (calls) {
        callHandler();
      } else if (decides) {
        decide(fault);
      } else {
        answer.give(refused ? Action.temporaryFailure() : unheard());
        state.endScope(entry);
      }
    } finally {
      if (foreign) {
        state.link.leave();
      }
    }
    settleIfDone();
    return true;
  }

  private Action.Reply unheard() {
    return fault != null || entry.reply() == null ? Action.proceed() : entry.reply();
  }

  private boolean isCall() {
    return switch (entry.way()) {
      case CALL, CALL_BEFORE_END -> true;
      case REPLAY -> state.ledger.handles(type);
      default -> false;
    };
  }

  private void begun() {
    state.begin();
    answer.begin(entry);
    observed = state.reports.wantExchanges() && entry.event() != null;
    timed = state.counters.areTimed();
    startedAt = observed || timed ? System.nanoTime() : 0;
    failure = fault != null ? fault : refused ? entry.excess() : null;
    if (refused || fault != null && fault == entry.excess()) {
      state.counters.limitExceeded();
      state.counters.failed(entry.excess());
      if (state.isFirst(type)) {
        state.reports.failed(type, entry.event(), entry.excess());
      }
      if (!refused) {
        state.ledger.fault(type, entry.excess());
      }
    }
  }

  // ---- the handler

  private void callHandler() {
    seen = open(state.mayAnswer(type), true);
    run(null);
  }

  /** Makes a call; progress may leave at once while it runs, behind what was written before. */
  private EventCall open(boolean answerable, boolean mayWait) {
    boolean holdable = allowsProgress();
    if (holdable) {
      state.link.flush();
    }
    call = new EventCall(state, type, answerable, holdable, mayWait);
    if (holdable) {
      state.holding = call;
    }
    return call;
  }

  /** Returns true if progress may be sent for it: the MTA waits for a reply to it. */
  boolean allowsProgress() {
    return entry.way() != Way.REPLAY && state.allowsProgress(entry.answered());
  }

  /** Goes on as the value has come or the peer takes more, or returns false if it must move. */
  boolean goOn() {
    if (!state.link.enter(answer.isWriting() ? BODY : type.ordinal())) {
      return false;
    }
    try {
      if (answer.isWriting()) {
        answer.writeOn();
      } else {
        run(call.takeOutcome());
      }
    } finally {
      state.link.leave();
    }
    settleIfDone();
    return true;
  }

  private List<IPersistentMap> handle() throws Exception {
    if (type == EventType.OPTIONS) {
      startedAt = System.nanoTime();
      state.negotiate(call, entry.event());
      observed = state.reports.wantExchanges();
      return null;
    }
    call.knows(state.transactionAt(type, entry.event()));
    return state.handler.onEvent(call, type, entry.event());
  }

  /**
   * Calls the handler, or takes what its value has come to, and makes the response of it unless a
   * value is pending then.
   */
  private void run(EventCall.Outcome arrived) {
    List<IPersistentMap> actions = null;
    call.running();
    EventCall running = call;
    try {
      actions = arrived == null ? handle() : arrived.actions();
      if (running.isPending()) {
        requireNone(actions);
        return;
      }
      if (actions != null) {
        running.add(actions);
      }
      running.end();
      answer.give(running);
      noteStates();
      state.endScope(entry);
    } catch (Throwable e) {
      fail(e, actions);
    } finally {
      running.returned();
    }
  }

  /** Notes the states around the event, before its end drops them. */
  private void noteStates() {
    if (observed && state.handler != null) {
      states = state.reports.statesOf(state.handler);
    }
  }

  private static void requireNone(List<IPersistentMap> actions) {
    if (actions != null && !actions.isEmpty()) {
      throw new MilterException(
          MilterException.Category.BAD_HANDLER_RETURN,
          "a handler that waits for a value has returned actions beside it");
    }
  }

  // ---- failures

  /** The handler has failed: the error policy answers, now or at the next event that can say so. */
  private void fail(Throwable problem, List<IPersistentMap> returned) {
    Throwable error = state.worded(problem);
    giveUp(call.end());
    ForeignActions.discard(call.response().newBody(), returned);
    failure = error;
    state.report(entry, error);
    if (type == EventType.OPTIONS) {
      state.close(error);
    } else if (state.mayDecide(type)) {
      decide(error);
      noteStates();
    } else {
      state.ledger.fault(type, error);
      answer.give(Action.proceed());
      noteStates();
      state.endScope(entry);
    }
  }

  /** Has the error policy answer, with a call of its own. */
  private void decide(Throwable error) {
    EventCall deciding = open(true, false);
    List<IPersistentMap> actions = null;
    deciding.running();
    try {
      actions = state.handler.onError(deciding, error, type, entry.decoded());
      deciding.add(Objects.requireNonNull(actions, "the error policy returned null"));
      deciding.end();
      answer.decide(deciding);
    } catch (Throwable e) {
      deciding.end();
      ForeignActions.discard(deciding.response().newBody(), actions);
      state.report(entry, e);
      answer.give(Action.temporaryFailure());
    } finally {
      deciding.returned();
    }
    state.ledger.decided(type);
  }

  /** Answers without any foreign code: with a temporary failure if the event may be answered. */
  void refuse(MilterException error) {
    if (call == null) {
      begun();
    } else {
      call.end();
      BodyPieces unsent = call.response().newBody();
      if (unsent != null) {
        state.reports.cleanUp(() -> ForeignActions.discard(unsent, null));
      }
    }
    failure = error;
    state.report(entry, error);
    if (state.mayDecide(type)) {
      answer.give(Action.temporaryFailure());
    } else {
      state.ledger.fault(type, error);
      answer.give(Action.proceed());
    }
    settle();
  }

  private void giveUp(PendingValue<?> value) {
    if (value != null) {
      try {
        value.giveUp();
      } catch (Throwable e) {
        state.report(entry, e);
      }
    }
  }

  // ---- the end

  /** What nobody takes any more is no answer: the event then ends with its connection. */
  private void settleIfDone() {
    boolean taken = !type.owesReply() || !state.link.isBroken();
    if (taken && !answer.isWriting() && !isPending()) {
      settle();
    }
  }

  /**
   * The one place where a verdict has its consequences: the response is written, and message or
   * client end by it, or go on.
   */
  private void settle() {
    over = true;
    boolean exchanged = observed && state.agreement() != null;
    boolean handled = timed && seen != null;
    if (exchanged || handled) {
      long nanos = System.nanoTime() - startedAt;
      if (exchanged) {
        state.reports.exchanged(type, entry.event(), answer.actions(), nanos, states, failure);
      }
      if (handled) {
        state.counters.handled(type, nanos);
      }
    }
    Action.Reply reply = answer.reply();
    if (seen != null) {
      seen.settled(reply);
    }
    if (reply == null) {
      endedWithoutReply();
      state.ledger.endedWithoutReply(type);
    } else {
      if (entry.way() == Way.CALL_BEFORE_END) {
        state.ledger.dropEnd();
      }
      ActionType verdict = answer.verdict();
      MessageEndReason ended = state.ledger.replied(entry.answered(), reply, verdict);
      if (ended != null) {
        state.counters.ended(ended, answer.quarantines());
      }
      if (ended != null || verdict != ActionType.CONTINUE && verdict != ActionType.SKIP) {
        state.reports.verdict(entry.answered(), reply, ended);
      }
    }
    letGo();
  }

  /** An event without a reply is over: it may be the end of a message that no reply has ended. */
  private void endedWithoutReply() {
    if (type == EventType.MESSAGE_END) {
      MessageEndReason reason = MessageEndReason.ofKeyword(entry.event().valAt(Keys.REASON));
      if (reason == MessageEndReason.ABORTED || reason == MessageEndReason.LOST) {
        state.counters.ended(reason, false);
        state.reports.verdict(null, null, reason);
      }
    }
  }

  /**
   * The connection is over before the event is settled. To be called where foreign code may run.
   *
   * @param giveUp whether the value that it waits for is given up, or left to itself
   */
  void abandon(boolean giveUp) {
    over = true;
    if (call != null) {
      PendingValue<?> value = call.end();
      if (giveUp) {
        giveUp(value);
      }
      ForeignActions.discard(call.response().newBody(), null);
    }
    state.endScope(entry);
    letGo();
  }

  /** Keeps nothing of the event: whoever has its call may have it for long. */
  private void letGo() {
    answer.close();
    if (state.holding != null) {
      state.holding = null;
    }
    if (call != null) {
      call.forget();
    }
  }

  boolean isOver() {
    return over;
  }

  boolean isPending() {
    return call != null && call.isPending();
  }

  boolean isWriting() {
    return answer.isWriting();
  }

  EventType type() {
    return type;
  }

  /** {@return the event whose reply answers this one} */
  EventType answered() {
    return entry.answered();
  }

  /** {@return the call of the handler, or null} */
  EventCall call() {
    return call;
  }
}
