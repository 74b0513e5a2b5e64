package temse.server.internal;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.util.ArrayDeque;
import java.util.Deque;
import java.util.List;
import java.util.function.LongSupplier;
import temse.protocol.DisconnectReason;
import temse.protocol.EventCodec;
import temse.protocol.EventType;
import temse.protocol.Keys;
import temse.protocol.MilterException;
import temse.protocol.Packet;
import temse.protocol.PacketDecoder;
import temse.server.ConnectionInfo;
import temse.server.EngineOptions;
import temse.server.MilterFactory;
import temse.server.ServerListener;
import temse.server.internal.Entry.Way;
import temse.server.internal.Reports.States;
import temse.transport.internal.Conversation;
import temse.transport.internal.Link;

/**
 * Serves one MTA connection without knowing its socket: bytes in, handler calls, bytes out, with
 * the time given from outside.
 *
 * <p>A packet goes to the {@link Ledger}, which says what is due. Each entry is taken in turn by a
 * {@link Settlement}, which calls the handler and answers. {@link #goOn} is the whole course of a
 * connection.
 */
public final class ConnectionEngine implements Conversation {
  private static final ByteBuffer NOTHING = ByteBuffer.allocate(0);

  /** The kind of foreign code that a listener is, beside the ordinals of events. */
  private static final int REPORTS = 32;

  private final ConnectionState state;
  private final Ledger ledger;
  private final Reports reports;
  private final Link link;
  private final PacketDecoder decoder;
  private final Deadlines deadlines;
  private Settlement atHand;

  /** What has come before the first packet, or null after it. */
  private Probe probe = new Probe();

  private boolean probed;
  private boolean stopping;

  /** What the client has begun with, to be received by a service that has taken over. */
  private final Deque<Packet> greeting = new ArrayDeque<>(0);

  /** The packet before which a service takes over, or null. */
  private Packet held;

  /** The peer has closed its sending half, and may have gone. */
  private boolean doubtful;

  /**
   * Makes the engine of a new connection, with counters of its own.
   *
   * @param factory makes the handler
   * @param options of the server
   * @param listener receives reports; what it throws is counted
   * @param link what carries the bytes
   * @param id unique in the server
   */
  public ConnectionEngine(
      MilterFactory factory, EngineOptions options, ServerListener listener, Link link, long id) {
    this(factory, options, listener, new Counts(options), link, id, System::nanoTime);
  }

  /**
   * Makes the engine of a new connection within another one, which has its number.
   *
   * @param factory makes the handler
   * @param options of the server
   * @param listener receives reports; what it throws is counted
   * @param link what carries the bytes
   * @param outer the connection of the other engine
   */
  public ConnectionEngine(
      MilterFactory factory,
      EngineOptions options,
      ServerListener listener,
      Link link,
      ConnectionInfo outer) {
    this(
        factory,
        options,
        listener,
        Counts.within(outer, options),
        link,
        outer.id(),
        System::nanoTime);
  }

  /**
   * Makes the engine of a new connection whose server counts, and whose time is a clock's.
   *
   * @param factory makes the handler
   * @param options of the server
   * @param listener receives reports; what it throws is counted
   * @param counters shared by the connections of the server
   * @param link what carries the bytes
   * @param id unique in the server
   * @param clock nanoseconds as {@link System#nanoTime}
   */
  public ConnectionEngine(
      MilterFactory factory,
      EngineOptions options,
      ServerListener listener,
      Counts counters,
      Link link,
      long id,
      LongSupplier clock) {
    this(new Succession(new Service(factory, options, listener)), counters, link, id, clock);
  }

  /**
   * Makes the engine of a new connection that has, at each message, the service of then.
   *
   * @param succession shared by the connections of the server
   * @param counters shared by them, too
   * @param link what carries the bytes
   * @param id unique in the server
   * @param clock nanoseconds as {@link System#nanoTime}
   */
  public ConnectionEngine(
      Succession succession, Counts counters, Link link, long id, LongSupplier clock) {
    EngineOptions options = succession.current().options();
    this.state = new ConnectionState(succession, counters, link, id, clock);
    this.ledger = state.ledger;
    this.reports = state.reports;
    this.link = link;
    this.decoder = new PacketDecoder(options.maximumPacketSize(), counters.unfinished());
    this.deadlines = new Deadlines(options, clock.getAsLong());
  }

  /** {@return what is known of the connection} */
  public ConnectionInfo connection() {
    return state;
  }

  // ---- from packet to packet

  @Override
  public Wish receive(ByteBuffer input, long time) {
    deadlines.received(time);
    if (probe != null) {
      probe.take(input);
    }
    try {
      while (true) {
        Wish wish = goOn();
        if (wish != null) {
          return wish;
        }
        state.change();
        if (!greeting.isEmpty()) {
          ledger.replay(greeting.poll());
          continue;
        }
        Packet packet = held;
        held = null;
        if (packet == null) {
          packet = decoder.next(input);
          deadlines.read(packet != null, decoder.midPacket());
          if (packet == null) {
            return Wish.READ;
          }
          state.answered = false;
          if (state.mayChange() && ledger.mayChangeBefore(packet)) {
            held = packet;
            ledger.change();
            continue;
          }
        }
        probe = null;
        ledger.observed(reports.wantExchanges());
        ledger.packet(packet);
      }
    } catch (MilterException e) {
      return violated(e);
    }
  }

  /** Does what is due; returns null when the next packet is wanted, or what is wanted before it. */
  private Wish goOn() {
    while (true) {
      if (link.output().size() >= ResponseWriter.ENOUGH) {
        link.flush();
      }
      if (link.isCongested()) {
        return Wish.DRAIN;
      }
      boolean done = true;
      if (reports.areWaiting()) {
        done = deliverReports();
      } else if (atHand != null) {
        if (atHand.isPending()) {
          return Wish.WAIT;
        }
        if (doubtful) {
          doubtful = false;
          state.writeProgress();
          continue;
        }
        done = atHand.goOn();
        if (atHand.isOver()) {
          atHand = null;
        }
      } else if (ledger.next() != null) {
        done = take(ledger.next());
      } else if (state.isEnding() || ledger.isOver() || stopping && !ledger.inMessage()) {
        return Wish.CLOSE;
      } else {
        return null;
      }
      if (!done) {
        return Wish.MOVE;
      }
    }
  }

  /** Takes an entry whose turn it is, or returns false if that must be on another thread. */
  private boolean take(Entry entry) {
    if (entry.way() == Way.REPEAT) {
      state.begin();
      repeat(entry);
      return true;
    }
    if (entry.way() == Way.COLLECT) {
      return collect(entry);
    }
    if (entry.way() == Way.CHANGE) {
      return prepareChange();
    }
    Settlement settlement = new Settlement(state, entry);
    if (!settlement.begin()) {
      return false;
    }
    atHand = settlement.isOver() ? null : settlement;
    return true;
  }

  /** Another service takes over if it can: then the client ends for the one at hand. */
  private boolean prepareChange() {
    if (!link.enter(EventType.OPTIONS.ordinal())) {
      return false;
    }
    ledger.begin();
    try {
      if (state.prepare()) {
        greeting.addAll(ledger.greeting());
        ledger.leave();
      }
    } finally {
      link.leave();
    }
    return true;
  }

  /** Has the event kept that nobody answers; only a piece of a body may take time: for its file. */
  private boolean collect(Entry entry) {
    EventType type = entry.type();
    boolean mayTakeTime = type == EventType.BODY;
    if (mayTakeTime && !link.enter(type.ordinal())) {
      return false;
    }
    state.begin();
    boolean observed = reports.wantExchanges();
    long startedAt = observed ? System.nanoTime() : 0;
    Throwable failure = null;
    try {
      keep(entry);
    } catch (Throwable e) {
      state.report(entry, e);
      ledger.fault(type, e);
      failure = e;
    } finally {
      if (mayTakeTime) {
        link.leave();
      }
    }
    if (observed) {
      long nanos = System.nanoTime() - startedAt;
      reports.exchanged(type, entry.event(), List.of(), nanos, States.NONE, failure);
    }
    return true;
  }

  private void keep(Entry entry) throws Exception {
    EventType type = entry.type();
    EventCodec.Field field = entry.field();
    if (field == null) {
      state.transactionAt(type, entry.event());
    }
    if (ledger.fault(type) != null) {
      return;
    }
    EventCollector collector = (EventCollector) state.handler;
    if (field == null) {
      collector.collect(state, type, entry.event());
    } else {
      collector.collectField(state, field.name(), field.value());
    }
  }

  /** Answers what an MTA sends although the message or the connection was settled before. */
  private void repeat(Entry entry) {
    if (state.owesReply(entry.type())) {
      ResponseWriter.write(
          entry.type(), List.of(), entry.reply(), state.agreement(), link.output());
      state.answered = true;
    }
  }

  /** Where listeners are known to take their time, what answers the event is written before. */
  private boolean deliverReports() {
    if (!link.enter(REPORTS)) {
      link.flush();
      return false;
    }
    try {
      reports.deliver();
    } finally {
      link.leave();
    }
    return true;
  }

  private Wish violated(MilterException problem) {
    String what = probe == null ? null : probe.kind();
    if (what != null) {
      state.close();
      probed(what);
      return Wish.CLOSE;
    }
    MilterException error = state.worded(problem);
    state.counters.failed(error);
    if (error.category() == MilterException.Category.LIMIT_EXCEEDED) {
      state.counters.limitExceeded();
    }
    state.close(error);
    reports.violated(error);
    return Wish.CLOSE;
  }

  private void probed(String what) {
    probed = true;
    state.counters.probed();
    reports.probed(what);
  }

  @Override
  public boolean acknowledgeAtOnce() {
    return !state.answered || decoder.midPacket();
  }

  // ---- the time

  @Override
  public long deadline() {
    if (isPending()) {
      return atHand.call().pending().deadline();
    }
    return atHand != null ? Long.MAX_VALUE : deadlines.next(state.agreement() != null);
  }

  @Override
  public Wish expired(long time) {
    if (!isPending()) {
      state.counters.timedOut();
      state.close(deadlines.exceeded(time, state.agreement() != null));
      return Wish.CLOSE;
    }
    EventCall call = atHand.call();
    PendingValue<?> value = call.pending();
    if (value.expired(time)) {
      EventType type = atHand.type();
      String problem = "the pending value of " + type.keyword + " did not come in time";
      call.arrived(value, value.late(timeout(type, problem)));
      return receive(NOTHING, time);
    }
    if (value.progressDue(time) && atHand.allowsProgress()) {
      state.writeProgress();
    }
    return Wish.WAIT;
  }

  /** No thread could be had for the handler: the event is answered without it. */
  @Override
  public Wish starved(long time) {
    Settlement waiting = atHand;
    if (waiting == null && ledger.next() != null && ledger.next().way() == Way.CHANGE) {
      ledger.begin();
      return receive(NOTHING, time);
    }
    if (waiting == null && ledger.next() != null) {
      waiting = new Settlement(state, ledger.next());
    }
    if (waiting != null && waiting.type() == EventType.OPTIONS) {
      state.close(timeout(EventType.OPTIONS, "no thread came free to negotiate"));
      return Wish.CLOSE;
    }
    if (waiting == null || waiting.isWriting() || !waiting.type().owesReply()) {
      return Wish.MOVE;
    }
    EventType type = waiting.type();
    waiting.refuse(timeout(type, "no thread came free for the handler of " + type.keyword));
    atHand = null;
    return receive(NOTHING, time);
  }

  private static MilterException timeout(EventType type, String message) {
    return new MilterException(
        MilterException.Category.HANDLER_TIMEOUT, message, Keys.EVENT, type.keyword);
  }

  // ---- a handler that holds the connection

  @Override
  public long heldDeadline() {
    EventCall holder = state.holding;
    return holder == null ? Long.MAX_VALUE : holder.heldDeadline();
  }

  @Override
  public void held(long time) {
    EventCall holder = state.holding;
    if (holder != null) {
      holder.held(time);
    }
  }

  // ---- the end

  /**
   * A peer that has closed its sending half within a message takes no answer to it any more. After
   * the end of a message it may wait for one: progress shows whether anybody reads. It is sent once
   * more before a value that has come meanwhile decides about the message.
   */
  @Override
  public Wish peerClosed(long time) {
    if (!isPending() || !ledger.inMessage()) {
      return Wish.WAIT;
    }
    if (atHand.answered() != EventType.END_OF_MESSAGE) {
      return Wish.CLOSE;
    }
    if (state.allowsProgress(EventType.END_OF_MESSAGE)) {
      doubtful = true;
      state.writeProgress();
      atHand.call().pending().probing(time);
    }
    return Wish.WAIT;
  }

  @Override
  public boolean idle() {
    return ledger.isIdle() && atHand == null && held == null;
  }

  @Override
  public Wish stopping() {
    stopping = true;
    if (isPending()) {
      return Wish.WAIT;
    }
    if (idle()) {
      return Wish.CLOSE;
    }
    if (link.isCongested()) {
      return Wish.DRAIN;
    }
    boolean due = atHand != null || ledger.next() != null || reports.areWaiting();
    return due ? Wish.MOVE : Wish.READ;
  }

  @Override
  public void ended(End how, Throwable cause) {
    state.close();
    try {
      abandon(true);
      end(reason(how));
      if (reports.areWaiting()) {
        deliverReports();
      }
      state.change();
      end(reason(how));
      Throwable error = state.failure() != null ? state.failure() : cause;
      boolean silent = probe != null && probe.isEmpty() && how == End.PEER_CLOSED;
      if (silent && state.failure() == null) {
        probed("no byte");
      }
      if (!probed) {
        closed(error);
      }
      if (reports.areWaiting()) {
        deliverReports();
      }
    } finally {
      decoder.release();
      state.ended();
    }
  }

  private void end(DisconnectReason reason) {
    ledger.ended(reason);
    while (ledger.next() != null) {
      take(ledger.next());
      abandon(false);
    }
  }

  private void closed(Throwable error) {
    boolean lost =
        error instanceof IOException
            || error instanceof MilterException known
                && known.category() == MilterException.Category.CONNECTION_LOST;
    if (lost) {
      state.counters.lost();
    }
    reports.closed(error);
  }

  /** Ends the event at hand; work for it at the end of a connection is left to itself. */
  private void abandon(boolean giveUp) {
    if (atHand == null) {
      return;
    }
    link.enter(atHand.type().ordinal());
    try {
      atHand.abandon(giveUp);
    } finally {
      atHand = null;
      link.leave();
    }
  }

  private DisconnectReason reason(End how) {
    if (state.failure() != null) {
      return DisconnectReason.ERROR;
    }
    boolean stopped = how == End.STOPPED || stopping;
    return stopped ? DisconnectReason.STOPPING : DisconnectReason.CONNECTION_LOST;
  }

  private boolean isPending() {
    return atHand != null && atHand.isPending();
  }
}
