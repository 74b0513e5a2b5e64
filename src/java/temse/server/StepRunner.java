package temse.server;

import clojure.lang.IPersistentMap;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CompletionStage;
import java.util.function.Function;
import temse.protocol.ActionCodec;
import temse.protocol.ActionType;
import temse.protocol.Actions;
import temse.protocol.Agreement;
import temse.protocol.EventCodec;
import temse.protocol.EventType;
import temse.protocol.Keys;
import temse.protocol.MacroTable;
import temse.protocol.MilterException;
import temse.protocol.Negotiation;
import temse.protocol.Offer;
import temse.protocol.Packet;
import temse.protocol.Request;
import temse.transport.Link;

/**
 * Takes the steps of a connection, one after the other: calls the handler and settles the event by
 * what it returned, by the default reply, or by the error policy.
 */
final class StepRunner implements Connection {
  /** What a pending value has come to. */
  private interface Arrival {
    List<IPersistentMap> actions() throws Throwable;
  }

  private final ConnectionEngine engine;
  private final MilterFactory factory;
  private final EngineOptions options;
  private final ServerListener listener;
  private final Link link;
  private final long id;
  private final Response response = new Response();

  private Request request;
  private Agreement agreement;
  private MilterHandler handler;
  private EventType currentType;
  private IPersistentMap currentEvent;
  private boolean lastPiece;
  private long startedAt;
  private int scoldedEvents;
  private boolean answered = true;
  private Arrival arrival;

  private volatile PendingValue<?> pending;
  private volatile Thread handlerThread;

  StepRunner(
      ConnectionEngine engine,
      MilterFactory factory,
      EngineOptions options,
      ServerListener listener,
      Link link,
      long id) {
    this.engine = engine;
    this.factory = factory;
    this.options = options;
    this.listener = listener;
    this.link = link;
    this.id = id;
  }

  // ---- what the engine asks and tells

  boolean handles(EventType type) {
    return agreement != null
        ? agreement.handles(type)
        : request != null && request.events().contains(type);
  }

  boolean suppressesMail() {
    return agreement != null && agreement.suppresses(EventType.MAIL);
  }

  /** Hears that a packet has come which nothing was written for so far. */
  void owesAnswer() {
    answered = false;
  }

  boolean hasAnswered() {
    return answered;
  }

  /** Takes a step, or returns false if it must be taken on another thread. */
  boolean run(EventStep step) {
    return run(step.type(), step.event(), step.beforeEndOfMessage());
  }

  /** Takes the step of an event, as {@link EventStep} describes it. */
  boolean run(EventType type, IPersistentMap event, boolean beforeEndOfMessage) {
    currentType = type;
    currentEvent = event;
    lastPiece = beforeEndOfMessage;
    if (type != EventType.OPTIONS && !handles(type)) {
      begin(type);
      write(type);
      letGo();
      return true;
    }
    if (!link.enter(type.ordinal())) {
      return false;
    }
    begin(type);
    try {
      answer(null);
    } finally {
      link.leave();
    }
    letGo();
    return true;
  }

  /** Settles an event that no handler hears of; it is decoded only if somebody watches. */
  void settleUnheard(EventType type, IPersistentMap event, IPersistentMap reply) {
    currentType = type;
    currentEvent = event;
    response.clear();
    if (listener.wantsExchanges()) {
      startedAt = System.nanoTime();
    }
    if (agreement.owesReply(type)) {
      writeReply(type, reply);
    } else {
      settled(type, null);
    }
    letGo();
  }

  /** Answers what an MTA sends although the message or the connection was settled before. */
  void repeat(EventType type, IPersistentMap reply) {
    if (agreement.owesReply(type)) {
      ResponseEncoder.write(type, List.of(), reply, agreement, link.output());
      answered = true;
    }
  }

  // ---- pending values

  boolean isWaiting() {
    return pending != null;
  }

  long deadline() {
    return pending.deadline();
  }

  /** Fails the step if its pending value is overdue, or sends progress if that is due. */
  void expired(long now) {
    PendingValue<?> waiting = pending;
    if (waiting.expired(now)) {
      waiting.cancel();
      arrived(
          waiting,
          () -> {
            throw new MilterException(
                MilterException.Category.HANDLER_TIMEOUT,
                "the pending value of " + currentType.keyword + " did not come in time",
                Keys.EVENT,
                currentType.keyword);
          });
    } else if (waiting.progressDue(now)) {
      writeProgress();
    }
  }

  /** Gives up the pending value, if there is one. */
  void cancel() {
    if (pending != null) {
      pending.cancel();
    }
    leaveOpen();
  }

  /** Waits no longer for the pending value, if there is one, and lets it come to its own end. */
  void leaveOpen() {
    if (pending != null || arrival != null) {
      pending = null;
      arrival = null;
      endScope(currentType);
    }
  }

  /** Takes over that a pending value has come, unless it is one that nobody waits for any more. */
  private void arrived(PendingValue<?> value, Arrival how) {
    if (pending == value) {
      pending = null;
      arrival = how;
    }
  }

  /** Returns true if a pending value has come: {@link #resume} goes on with its step. */
  boolean canResume() {
    return arrival != null;
  }

  /** Settles the step whose value has come, or returns false if it must be on another thread. */
  boolean resume() {
    if (!link.enter(currentType.ordinal())) {
      return false;
    }
    Arrival how = arrival;
    arrival = null;
    try {
      answer(how);
    } finally {
      link.leave();
    }
    letGo();
    return true;
  }

  /** Keeps no event that is settled: a connection may be idle for long. */
  private void letGo() {
    if (pending == null) {
      currentEvent = null;
    }
  }

  // ---- one step

  private void begin(EventType type) {
    engine.begins(type);
    response.clear();
    if (listener.wantsExchanges()) {
      startedAt = System.nanoTime();
    }
  }

  /** Settles the current step by what its handler returns, or by the value that has come for it. */
  private void answer(Arrival value) {
    handlerThread = Thread.currentThread();
    try {
      if (currentType == EventType.OPTIONS) {
        negotiate(currentEvent);
        return;
      }
      List<IPersistentMap> actions =
          value == null ? handler.onEvent(this, currentType, currentEvent) : value.actions();
      if (pending == null) {
        settle(actions);
      }
    } catch (Throwable e) {
      pending = null;
      fail(e);
    } finally {
      handlerThread = null;
    }
  }

  private void negotiate(IPersistentMap offer) throws Exception {
    engine.negotiating();
    handler = factory.open(this);
    request = handler.request(this, offer);
    agreement = Negotiation.agree(Offer.of(offer), request);
    Packet answer = agreement.packet();
    handler.negotiated(agreement);
    ResponseEncoder.write(answer, link.output());
    answered = true;
    listener.negotiated(this);
    if (listener.wantsExchanges()) {
      listener.exchanged(
          this, offer, List.of(EventCodec.decode(answer)), System.nanoTime() - startedAt);
    }
  }

  private void settle(List<IPersistentMap> actions) {
    EventType type = currentType;
    if (actions != null && !actions.isEmpty()) {
      try {
        for (IPersistentMap action : actions) {
          add(action);
        }
      } catch (MilterException e) {
        boolean afterReply =
            e.category() == MilterException.Category.DOUBLE_REPLY
                || e.category() == MilterException.Category.LATE_ACTION;
        if (!afterReply) {
          throw e;
        }
        report(e);
      }
    }
    write(type);
  }

  private void add(IPersistentMap action) {
    if (action.valAt(Keys.ACTION) == ActionType.PROGRESS.keyword) {
      progress();
    } else if (mayAnswer(currentType)) {
      response.add(currentType, action, agreement);
    } else if (action.valAt(Keys.ACTION) != ActionType.CONTINUE.keyword) {
      scold(action);
    }
  }

  /** Reports an answer to an event that cannot be answered, once per connection and event. */
  private void scold(IPersistentMap action) {
    int bit = 1 << currentType.ordinal();
    if ((scoldedEvents & bit) == 0) {
      scoldedEvents |= bit;
      report(Response.unanswerable(currentType, action));
    }
  }

  private boolean mayAnswer(EventType type) {
    return agreement != null && agreement.mayAnswer(type);
  }

  private void write(EventType event) {
    if (lastPiece) {
      writeBeforeEndOfMessage(replyTo(event));
    } else if (agreement != null && agreement.owesReply(event)) {
      writeReply(event, replyTo(event));
    } else {
      settled(event, null);
    }
  }

  private IPersistentMap replyTo(EventType event) {
    if (!mayAnswer(event)) {
      return Actions.proceed();
    }
    return response.reply() == null ? options.defaultReply(event) : response.reply();
  }

  /** The last piece of a body shares its reply with the end of message. */
  private void writeBeforeEndOfMessage(IPersistentMap reply) {
    ActionType verdict = ActionCodec.verdict(reply);
    if (verdict == ActionType.CONTINUE || verdict == ActionType.SKIP) {
      settled(EventType.BODY, null);
    } else {
      writeReply(EventType.END_OF_MESSAGE, reply);
      engine.settledWithLastPiece();
    }
  }

  private void writeReply(EventType event, IPersistentMap reply) {
    ResponseEncoder.write(event, response.modifications(), reply, agreement, link.output());
    answered = true;
    settled(event, reply);
  }

  private void settled(EventType type, IPersistentMap reply) {
    if (listener.wantsExchanges()) {
      List<IPersistentMap> actions = new ArrayList<>();
      if (reply != null) {
        actions.addAll(response.modifications());
        actions.add(reply);
      }
      listener.exchanged(this, currentEvent, actions, System.nanoTime() - startedAt);
    }
    if (reply == null) {
      endScope(type);
    } else {
      engine.replied(type, reply);
    }
  }

  private void endScope(EventType type) {
    engine.told(type);
    if ((type == EventType.MESSAGE_END || type == EventType.DISCONNECT) && handler != null) {
      handler.scopeEnded(type);
    }
  }

  private void fail(Throwable error) {
    report(error);
    EventType type = currentType;
    if (type == EventType.OPTIONS) {
      engine.close(error);
      return;
    }
    response.clear();
    if (!mayAnswer(type)) {
      write(type);
      return;
    }
    try {
      for (IPersistentMap action : handler.onError(this, error, type, currentEvent)) {
        response.add(type, action, agreement);
      }
      write(type);
    } catch (Throwable e) {
      report(e);
      response.clear();
      response.add(type, Actions.temporaryFailure(), agreement);
      write(type);
    }
  }

  private void report(Throwable error) {
    if (currentType == EventType.OPTIONS && error instanceof MilterException refusal) {
      listener.violated(this, refusal);
    } else {
      listener.failed(this, currentType, currentEvent, error);
    }
  }

  // ---- what a handler may do

  @Override
  public long id() {
    return id;
  }

  @Override
  public String peer() {
    return link.peer();
  }

  @Override
  public Agreement agreement() {
    return agreement;
  }

  @Override
  public MacroTable macros() {
    return engine.macros();
  }

  @Override
  public void send(IPersistentMap action) {
    if (handlerThread == null && pending == null) {
      throw new MilterException(
          MilterException.Category.STALE_CONTEXT,
          "no event is at hand: it was settled when its handler returned",
          Keys.ACTION,
          action);
    }
    add(action);
  }

  @Override
  public void progress() {
    if (Thread.currentThread() == handlerThread) {
      writeProgress();
    } else {
      PendingValue<?> awaited = pending;
      link.later(
          () -> {
            if (pending != null && (awaited == null || pending == awaited)) {
              writeProgress();
            }
          });
    }
  }

  private void writeProgress() {
    EventType event = currentType;
    if (options.progressEvents.contains(event) && agreement.owesReply(event)) {
      ResponseEncoder.writeProgress(link.output());
      link.flush();
    }
  }

  @Override
  public <T> void await(
      CompletionStage<T> stage, Function<? super T, List<IPersistentMap>> whenDone) {
    if (Thread.currentThread() != handlerThread) {
      throw new MilterException(
          MilterException.Category.STALE_CONTEXT,
          "no event is at hand that could wait: a value is awaited by a running handler");
    }
    PendingValue<T> value =
        new PendingValue<>(
            stage,
            whenDone,
            engine.now(),
            options.handlerTimeout(currentType),
            options.progressInterval);
    pending = value;
    stage.whenComplete(
        (result, error) ->
            link.later(
                () ->
                    arrived(
                        value,
                        () -> {
                          if (error != null) {
                            throw PendingValue.unwrapped(error);
                          }
                          return value.response(result);
                        })));
  }

  @Override
  public void close() {
    engine.close(null);
  }
}
