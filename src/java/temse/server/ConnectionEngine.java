package temse.server;

import clojure.lang.IObj;
import clojure.lang.IPersistentMap;
import clojure.lang.Keyword;
import clojure.lang.PersistentArrayMap;
import java.nio.ByteBuffer;
import java.util.ArrayDeque;
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
import temse.protocol.PacketDecoder;
import temse.protocol.Request;
import temse.protocol.Session;
import temse.transport.Conversation;
import temse.transport.Link;

/**
 * Serves one MTA connection without knowing its socket: bytes in, handler calls, bytes out, told
 * the time from outside.
 *
 * <p>A packet becomes one or more steps (a MAIL inside a message is an abort, a message end and the
 * mail event); steps are taken one after the other, and each is settled before the next: by the
 * handler's actions, by the default reply, or by the error policy.
 */
public final class ConnectionEngine implements Conversation, Connection {
  private record Step(EventType type, IPersistentMap event, boolean beforeEndOfMessage) {}

  private final MilterFactory factory;
  private final EngineOptions options;
  private final ServerListener listener;
  private final Link link;
  private final long id;
  private final PacketDecoder decoder;
  private final ArrayDeque<Step> agenda = new ArrayDeque<>(4);
  private final Response response = new Response();
  private final HeaderCounter headerCounter = new HeaderCounter();

  private Session session = Session.START;
  private MacroTable macros = MacroTable.EMPTY;
  private Request request;
  private Agreement agreement;
  private MilterHandler handler;
  private Step current;
  private long startedAt;
  private IPersistentMap settledReply;
  private int skippedEvents;
  private int scoldedEvents;
  private boolean clientOpen;
  private boolean messageOpen;
  private boolean closing;
  private boolean stopping;
  private boolean unanswered;
  private Throwable failure;
  private long now;
  private long lastActivity;

  private volatile PendingValue<?> pending;
  private volatile Thread handlerThread;

  /** Makes the engine of a new connection. */
  public ConnectionEngine(
      MilterFactory factory, EngineOptions options, ServerListener listener, Link link, long id) {
    this.factory = factory;
    this.options = options;
    this.listener = listener;
    this.link = link;
    this.id = id;
    this.decoder = new PacketDecoder(options.maximumPacketSize);
    this.now = System.nanoTime();
    this.lastActivity = now;
  }

  // ---- what the transport calls

  @Override
  public Wish receive(ByteBuffer input, long time) {
    now = time;
    lastActivity = time;
    try {
      while (pending == null) {
        if (!agenda.isEmpty()) {
          if (!take(agenda.poll())) {
            return Wish.MOVE;
          }
        } else if (closing || stopping && !session.inMessage()) {
          return Wish.CLOSE;
        } else {
          Packet packet = decoder.next(input);
          if (packet == null) {
            return Wish.READ;
          }
          accept(packet);
        }
      }
      return Wish.WAIT;
    } catch (MilterException e) {
      return violation(e);
    }
  }

  @Override
  public long deadline() {
    PendingValue<?> waiting = pending;
    return waiting == null ? lastActivity + options.idleTimeout : waiting.deadline();
  }

  @Override
  public Wish expired(long time) {
    now = time;
    PendingValue<?> waiting = pending;
    if (waiting == null) {
      failure =
          new MilterException(
              MilterException.Category.CONNECTION_LOST, "the MTA was silent for too long");
      return Wish.CLOSE;
    }
    if (waiting.expired(time)) {
      waiting.cancel();
      pending = null;
      fail(
          new MilterException(
              MilterException.Category.HANDLER_TIMEOUT,
              "the pending value of " + current.type.keyword + " did not come in time",
              Keys.EVENT,
              current.type.keyword));
      return receive(ByteBuffer.allocate(0), time);
    }
    if (waiting.progressDue(time)) {
      writeProgress();
    }
    return Wish.WAIT;
  }

  @Override
  public boolean acknowledgeAtOnce() {
    return unanswered || decoder.midPacket();
  }

  @Override
  public boolean idle() {
    return !session.inMessage() && agenda.isEmpty() && pending == null;
  }

  @Override
  public Wish stopping() {
    stopping = true;
    if (pending != null) {
      return Wish.WAIT;
    }
    return idle() ? Wish.CLOSE : agenda.isEmpty() ? Wish.READ : Wish.MOVE;
  }

  @Override
  public void ended(End how, Throwable cause) {
    closing = true;
    if (pending != null) {
      pending.cancel();
      leaveOpen();
    }
    agenda.removeIf(step -> step.type.owesReply() || step.type == EventType.OPTIONS);
    announceAbort(Names.LOST);
    announceDisconnect(reason(how));
    session = Session.CLOSED;
    while (!agenda.isEmpty()) {
      take(agenda.poll());
      if (pending != null) {
        leaveOpen();
      }
    }
    listener.closed(this, failure != null ? failure : cause);
  }

  /** Waits no longer for what the current step left pending. */
  private void leaveOpen() {
    pending = null;
    endScope(current.type);
  }

  private Keyword reason(End how) {
    if (failure != null) {
      return Names.ERROR;
    }
    return how == End.STOPPED || stopping ? Names.STOPPING : Names.CONNECTION_LOST;
  }

  // ---- packets

  private void accept(Packet packet) {
    EventType type = EventCodec.type(packet);
    unanswered = true;
    if (session.aborts(type)) {
      announceAbort(Names.ABORTED);
    }
    boolean mailSuppressed = agreement != null && agreement.suppresses(EventType.MAIL);
    Session before = session;
    session = session.after(type, mailSuppressed);
    macros = macrosAfter(type, packet);
    switch (type) {
      case OPTIONS, DEFINE_MACRO -> schedule(type, packet);
      case ABORT -> {}
      case QUIT -> {
        schedule(type, packet);
        announceDisconnect(Names.QUIT);
        closing = true;
      }
      case DISCONNECT -> announceDisconnect(Names.NEW_CONNECTION);
      default -> {
        clientOpen = true;
        if (session.inMessage() && !before.inMessage() || type == EventType.MAIL) {
          beginMessage();
        }
        if (type.inMessage() ? !session.inMessage() : session == Session.CONNECTION_SETTLED) {
          repeatVerdict(type);
        } else if (type == EventType.END_OF_MESSAGE && packet.payload().length > 0) {
          if (hears(EventType.BODY)) {
            agenda.add(new Step(EventType.BODY, decode(EventType.BODY, packet), true));
          }
          agenda.add(new Step(type, EventCodec.event(type), false));
        } else {
          schedule(type, packet);
        }
      }
    }
  }

  /** The macros of an SMTP client hold until its end was told: {@link #endScope}. */
  private MacroTable macrosAfter(EventType type, Packet packet) {
    return switch (type) {
      case DEFINE_MACRO -> macros.with(packet);
      case QUIT, DISCONNECT -> macros;
      default -> macros.after(type);
    };
  }

  private void beginMessage() {
    skippedEvents = 0;
    headerCounter.clear();
  }

  /** Answers what an MTA sends although the message or the connection was settled before. */
  private void repeatVerdict(EventType type) {
    if (agreement.owesReply(type)) {
      ResponseEncoder.write(
          type,
          List.of(),
          type == EventType.UNKNOWN ? Actions.proceed() : settledReply,
          agreement,
          link.output());
      unanswered = false;
    }
  }

  private void schedule(EventType type, Packet packet) {
    if (type == EventType.OPTIONS || hears(type)) {
      agenda.add(new Step(type, decode(type, packet), false));
    } else {
      settleUnheard(type, packet);
    }
  }

  private boolean hears(EventType type) {
    return handles(type) && !skips(type);
  }

  private boolean skips(EventType type) {
    return (skippedEvents & 1 << type.ordinal()) != 0;
  }

  private void settleUnheard(EventType type, Packet packet) {
    IPersistentMap reply = skips(type) ? Actions.proceed() : options.defaultReply(type);
    if (listener.wantsExchanges()) {
      current = new Step(type, decode(type, packet), false);
      startedAt = System.nanoTime();
    }
    messageOpen |= type.inMessage();
    boolean owed = agreement.owesReply(type);
    if (owed) {
      ResponseEncoder.write(type, List.of(), reply, agreement, link.output());
      unanswered = false;
    }
    settled(type, owed ? reply : null, List.of());
  }

  private IPersistentMap decode(EventType type, Packet packet) {
    IPersistentMap event =
        type == EventType.BODY
            ? EventCodec.event(type, Keys.DATA, packet.payload())
            : EventCodec.decode(packet);
    if (type == EventType.HEADER) {
      String name = (String) event.valAt(Keys.NAME);
      String value = (String) event.valAt(Keys.VALUE);
      event =
          EventCodec.header(
              name,
              agreement.emulatesLeadingSpace() ? " " + value : value,
              headerCounter.next(name));
    }
    return options.keepPayload
        ? (IPersistentMap)
            ((IObj) event)
                .withMeta(new PersistentArrayMap(new Object[] {Keys.PAYLOAD, packet.payload()}))
        : event;
  }

  // ---- what the library announces by itself

  private void announceAbort(Keyword reason) {
    if (messageOpen) {
      announce(EventType.ABORT, EventCodec.event(EventType.ABORT));
      announceMessageEnd(reason);
    }
  }

  private void announceMessageEnd(Keyword reason) {
    messageOpen = false;
    announce(EventType.MESSAGE_END, EventCodec.event(EventType.MESSAGE_END, Keys.REASON, reason));
  }

  private void announceDisconnect(Keyword reason) {
    if (clientOpen) {
      clientOpen = false;
      announce(EventType.DISCONNECT, EventCodec.event(EventType.DISCONNECT, Keys.REASON, reason));
    }
  }

  private void announce(EventType type, IPersistentMap event) {
    boolean endsScope = type == EventType.MESSAGE_END || type == EventType.DISCONNECT;
    if (endsScope || handles(type) || listener.wantsExchanges()) {
      agenda.add(new Step(type, event, false));
    }
  }

  private boolean handles(EventType type) {
    return agreement != null
        ? agreement.handles(type)
        : request != null && request.events().contains(type);
  }

  // ---- steps

  /** Takes a step, or puts it back and returns false if it must be taken on another thread. */
  private boolean take(Step step) {
    current = step;
    if (step.type != EventType.OPTIONS && !handles(step.type)) {
      begin(step);
      write(step.type);
      return true;
    }
    if (!link.enter(step.type.ordinal())) {
      agenda.addFirst(step);
      return false;
    }
    try {
      call(step);
    } finally {
      link.leave();
    }
    return true;
  }

  private void begin(Step step) {
    messageOpen |= step.type.inMessage();
    response.clear();
    if (listener.wantsExchanges()) {
      startedAt = System.nanoTime();
    }
  }

  private void call(Step step) {
    begin(step);
    handlerThread = Thread.currentThread();
    try {
      if (step.type == EventType.OPTIONS) {
        negotiate(step.event);
        return;
      }
      List<IPersistentMap> actions = handler.onEvent(step.type, step.event);
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
    clientOpen = true;
    handler = factory.open(this);
    request = handler.request(offer);
    agreement = Negotiation.agree(Offer.of(offer), request);
    Packet answer = agreement.packet();
    handler.negotiated(agreement);
    ResponseEncoder.write(answer, link.output());
    unanswered = false;
    listener.negotiated(this);
    if (listener.wantsExchanges()) {
      listener.exchanged(
          this, offer, List.of(EventCodec.decode(answer)), System.nanoTime() - startedAt);
    }
  }

  private void settle(List<IPersistentMap> actions) {
    EventType type = current.type;
    if (actions != null) {
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
    } else if (mayAnswer(current.type)) {
      response.add(current.type, action, agreement);
    } else if (action.valAt(Keys.ACTION) != ActionType.CONTINUE.keyword) {
      scold(action);
    }
  }

  /** Reports an answer to an event that cannot be answered, once per connection and event. */
  private void scold(IPersistentMap action) {
    int bit = 1 << current.type.ordinal();
    if ((scoldedEvents & bit) == 0) {
      scoldedEvents |= bit;
      report(Response.unanswerable(current.type, action));
    }
  }

  private boolean mayAnswer(EventType type) {
    return agreement != null && agreement.mayAnswer(type);
  }

  private void write(EventType event) {
    if (current.beforeEndOfMessage) {
      writeBeforeEndOfMessage(replyTo(event));
    } else if (agreement != null && agreement.owesReply(event)) {
      writeReply(event, replyTo(event));
    } else {
      settled(event, null, List.of());
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
      settled(EventType.BODY, null, List.of());
    } else {
      writeReply(EventType.END_OF_MESSAGE, reply);
      agenda.removeFirst();
    }
  }

  private void writeReply(EventType event, IPersistentMap reply) {
    ResponseEncoder.write(event, response.modifications(), reply, agreement, link.output());
    unanswered = false;
    settled(event, reply, response.modifications());
  }

  /** Draws the consequences of a reply, or of an event that owes none. */
  private void settled(EventType type, IPersistentMap reply, List<IPersistentMap> modifications) {
    if (listener.wantsExchanges()) {
      List<IPersistentMap> actions = new ArrayList<>(modifications);
      if (reply != null) {
        actions.add(reply);
      }
      listener.exchanged(this, current.event, actions, System.nanoTime() - startedAt);
    }
    if (reply == null) {
      endScope(type);
      return;
    }
    ActionType verdict = ActionCodec.verdict(reply);
    if (verdict == ActionType.SKIP) {
      skippedEvents |= 1 << type.ordinal();
    }
    Session before = session;
    session = session.settle(type, verdict);
    if (session != before && (before.inMessage() || session == Session.CONNECTION_SETTLED)) {
      settledReply = reply;
      if (before.inMessage()) {
        announceMessageEnd(Names.ofVerdict(verdict));
      }
    }
  }

  private void endScope(EventType type) {
    if (type == EventType.DISCONNECT) {
      macros = MacroTable.EMPTY;
    }
    if ((type == EventType.MESSAGE_END || type == EventType.DISCONNECT) && handler != null) {
      handler.scopeEnded(type);
    }
  }

  private void fail(Throwable error) {
    report(error);
    EventType type = current.type;
    if (type == EventType.OPTIONS) {
      failure = error;
      closing = true;
      return;
    }
    response.clear();
    if (!mayAnswer(type)) {
      write(type);
      return;
    }
    try {
      for (IPersistentMap action : handler.onError(error, type, current.event)) {
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
    if (current.type == EventType.OPTIONS && error instanceof MilterException refusal) {
      listener.violated(this, refusal);
    } else {
      listener.failed(this, current.type, current.event, error);
    }
  }

  private Wish violation(MilterException error) {
    failure = error;
    listener.violated(this, error);
    return Wish.CLOSE;
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
    return macros;
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
            if (awaited != null && pending == awaited) {
              writeProgress();
            }
          });
    }
  }

  private void writeProgress() {
    EventType event = current.type;
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
            stage, whenDone, now, options.handlerTimeout(current.type), options.progressInterval);
    pending = value;
    stage.whenComplete((result, error) -> link.later(() -> complete(value, result, error)));
  }

  private <T> void complete(PendingValue<T> value, T result, Throwable error) {
    if (pending != value) {
      return;
    }
    pending = null;
    handlerThread = Thread.currentThread();
    try {
      if (error != null) {
        throw PendingValue.unwrapped(error);
      }
      List<IPersistentMap> actions = value.response(result);
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

  @Override
  public void close() {
    closing = true;
  }
}
