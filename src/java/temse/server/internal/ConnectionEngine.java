package temse.server.internal;

import java.nio.ByteBuffer;
import java.util.List;
import java.util.function.LongSupplier;
import temse.protocol.ActionCodec;
import temse.protocol.DisconnectReason;
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
  private boolean stopping;

  /** The peer has closed its sending half, and may have gone. */
  private boolean doubtful;

  /** Makes the engine of a new connection, with counters of its own. */
  public ConnectionEngine(
      MilterFactory factory, EngineOptions options, ServerListener listener, Link link, long id) {
    this(factory, options, listener, new Counts(options), link, id, System::nanoTime);
  }

  /** Makes the engine of a new connection whose server counts, and whose time is a clock's. */
  public ConnectionEngine(
      MilterFactory factory,
      EngineOptions options,
      ServerListener listener,
      Counts counters,
      Link link,
      long id,
      LongSupplier clock) {
    this.state = new ConnectionState(factory, options, listener, counters, link, id, clock);
    this.ledger = state.ledger;
    this.reports = state.reports;
    this.link = link;
    this.decoder = new PacketDecoder(options.maximumPacketSize(), counters.unfinished());
    this.deadlines = new Deadlines(options, clock.getAsLong());
  }

  /** Returns what is known of the connection. */
  public ConnectionInfo connection() {
    return state;
  }

  // ---- from packet to packet

  @Override
  public Wish receive(ByteBuffer input, long time) {
    deadlines.received(time);
    try {
      while (true) {
        Wish wish = goOn();
        if (wish != null) {
          return wish;
        }
        Packet packet = decoder.next(input);
        deadlines.read(packet != null, decoder.midPacket());
        if (packet == null) {
          return Wish.READ;
        }
        state.answered = false;
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
      } else if (state.isClosing() || ledger.isOver() || stopping && !ledger.inMessage()) {
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
      ledger.begin();
      repeat(entry);
      return true;
    }
    Settlement settlement = new Settlement(state, entry);
    if (!settlement.begin()) {
      return false;
    }
    atHand = settlement.isOver() ? null : settlement;
    return true;
  }

  /** Answers what an MTA sends although the message or the connection was settled before. */
  private void repeat(Entry entry) {
    if (state.owesReply(entry.type())) {
      ResponseWriter.write(
          entry.type(),
          List.of(),
          entry.reply(),
          ActionCodec.type(entry.reply()),
          state.agreement(),
          link.output());
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

  private Wish violated(MilterException error) {
    if (error.category() == MilterException.Category.LIMIT_EXCEEDED) {
      state.counters.limitExceeded();
    }
    state.close(error);
    reports.violated(error);
    return Wish.CLOSE;
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
    if (value.progressDue(time) && state.allowsProgress(atHand.answered())) {
      state.writeProgress();
    }
    return Wish.WAIT;
  }

  /** No thread could be had for the handler: the event is answered without it. */
  @Override
  public Wish starved(long time) {
    Settlement waiting = atHand;
    if (waiting == null && ledger.next() != null) {
      waiting = new Settlement(state, ledger.next());
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
    return ledger.isIdle() && atHand == null;
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
      ledger.ended(reason(how));
      while (ledger.next() != null) {
        take(ledger.next());
        abandon(false);
      }
      reports.closed(state.failure() != null ? state.failure() : cause);
      if (reports.areWaiting()) {
        deliverReports();
      }
    } finally {
      decoder.release();
    }
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
