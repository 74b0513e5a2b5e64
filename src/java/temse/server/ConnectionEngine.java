package temse.server;

import clojure.lang.IObj;
import clojure.lang.IPersistentMap;
import clojure.lang.Keyword;
import clojure.lang.PersistentArrayMap;
import java.nio.ByteBuffer;
import java.util.ArrayDeque;
import temse.protocol.ActionCodec;
import temse.protocol.ActionType;
import temse.protocol.Actions;
import temse.protocol.EventCodec;
import temse.protocol.EventType;
import temse.protocol.Keys;
import temse.protocol.MacroTable;
import temse.protocol.MilterException;
import temse.protocol.Packet;
import temse.protocol.PacketDecoder;
import temse.protocol.Session;
import temse.transport.Conversation;
import temse.transport.Link;

/**
 * Serves one MTA connection without knowing its socket: bytes in, handler calls, bytes out, told
 * the time from outside.
 *
 * <p>A packet becomes one or more steps (a MAIL inside a message is an abort, a message end and the
 * mail event). Here is what came and what is due: the state of the session, the macros, the scopes
 * of client and message, and the agenda of steps. The {@link StepRunner} takes them one after the
 * other, and each is settled before the next.
 */
public final class ConnectionEngine implements Conversation {
  private final EngineOptions options;
  private final ServerListener listener;
  private final StepRunner runner;
  private final PacketDecoder decoder;
  private final ArrayDeque<EventStep> agenda = new ArrayDeque<>(4);
  private final HeaderCounter headerCounter = new HeaderCounter();

  private Session session = Session.START;
  private MacroTable macros = MacroTable.EMPTY;
  private IPersistentMap settledReply;
  private int skippedEvents;
  private boolean clientOpen;
  private boolean messageOpen;
  private boolean closing;
  private boolean stopping;
  private Throwable failure;
  private long now;
  private long lastActivity;

  /** Makes the engine of a new connection. */
  public ConnectionEngine(
      MilterFactory factory, EngineOptions options, ServerListener listener, Link link, long id) {
    this.options = options;
    this.listener = listener;
    this.runner = new StepRunner(this, factory, options, listener, link, id);
    this.decoder = new PacketDecoder(options.maximumPacketSize);
    this.now = System.nanoTime();
    this.lastActivity = now;
  }

  /** Returns the connection as its handler sees it. */
  public Connection connection() {
    return runner;
  }

  // ---- what the transport calls

  @Override
  public Wish receive(ByteBuffer input, long time) {
    now = time;
    lastActivity = time;
    try {
      while (!runner.isWaiting()) {
        if (runner.canResume()) {
          if (!runner.resume()) {
            return Wish.MOVE;
          }
        } else if (!agenda.isEmpty()) {
          EventStep step = agenda.poll();
          if (!runner.run(step)) {
            agenda.addFirst(step);
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
      failure = e;
      listener.violated(runner, e);
      return Wish.CLOSE;
    }
  }

  @Override
  public long deadline() {
    return runner.isWaiting() ? runner.deadline() : lastActivity + options.idleTimeout;
  }

  @Override
  public Wish expired(long time) {
    now = time;
    if (!runner.isWaiting()) {
      failure =
          new MilterException(
              MilterException.Category.CONNECTION_LOST, "the MTA was silent for too long");
      return Wish.CLOSE;
    }
    runner.expired(time);
    return runner.isWaiting() ? Wish.WAIT : receive(ByteBuffer.allocate(0), time);
  }

  @Override
  public boolean acknowledgeAtOnce() {
    return !runner.hasAnswered() || decoder.midPacket();
  }

  @Override
  public boolean idle() {
    return !session.inMessage() && agenda.isEmpty() && !runner.isWaiting() && !runner.canResume();
  }

  @Override
  public Wish stopping() {
    stopping = true;
    if (runner.isWaiting()) {
      return Wish.WAIT;
    }
    boolean due = runner.canResume() || !agenda.isEmpty();
    return idle() ? Wish.CLOSE : due ? Wish.MOVE : Wish.READ;
  }

  @Override
  public void ended(End how, Throwable cause) {
    closing = true;
    runner.cancel();
    agenda.removeIf(step -> step.type().owesReply() || step.type() == EventType.OPTIONS);
    announceAbort(Names.LOST);
    announceDisconnect(reason(how));
    session = Session.CLOSED;
    while (!agenda.isEmpty()) {
      runner.run(agenda.poll());
      runner.leaveOpen();
    }
    listener.closed(runner, failure != null ? failure : cause);
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
    runner.owesAnswer();
    if (session.aborts(type)) {
      announceAbort(Names.ABORTED);
    }
    Session before = session;
    session = session.after(type, runner.suppressesMail());
    macros = macrosAfter(type, packet);
    switch (type) {
      case OPTIONS -> agenda.add(new EventStep(type, EventCodec.decode(packet), false));
      case DEFINE_MACRO -> {
        if (runner.handles(type) || listener.wantsExchanges()) {
          schedule(type, packet);
        }
      }
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
          runner.repeat(type, type == EventType.UNKNOWN ? Actions.proceed() : settledReply);
        } else if (type == EventType.END_OF_MESSAGE && packet.payload().length > 0) {
          scheduleWithLastPiece(packet);
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

  private void schedule(EventType type, Packet packet) {
    if (runner.handles(type) && !skips(type)) {
      take(type, decode(type, packet));
    } else {
      IPersistentMap event = listener.wantsExchanges() ? decode(type, packet) : null;
      messageOpen |= type.inMessage();
      runner.settleUnheard(
          type, event, skips(type) ? Actions.proceed() : options.defaultReply(type));
    }
  }

  /** Takes a step at once, unless others are due before it or it must be on another thread. */
  private void take(EventType type, IPersistentMap event) {
    if (!agenda.isEmpty() || !runner.run(type, event, false)) {
      agenda.add(new EventStep(type, event, false));
    }
  }

  /** An end of message that carries the last piece of the body is two events and owes one reply. */
  private void scheduleWithLastPiece(Packet packet) {
    if (runner.handles(EventType.BODY) && !skips(EventType.BODY)) {
      agenda.add(new EventStep(EventType.BODY, decode(EventType.BODY, packet), true));
    }
    EventType type = EventType.END_OF_MESSAGE;
    agenda.add(new EventStep(type, EventCodec.event(type), false));
  }

  private boolean skips(EventType type) {
    return (skippedEvents & 1 << type.ordinal()) != 0;
  }

  private IPersistentMap decode(EventType type, Packet packet) {
    IPersistentMap event =
        switch (type) {
          case BODY -> EventCodec.event(type, Keys.DATA, packet.payload());
          case HEADER ->
              EventCodec.decodeHeader(
                  packet, runner.agreement().emulatesLeadingSpace() ? " " : "", headerCounter);
          default -> EventCodec.decode(packet);
        };
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
      listener.verdict(runner, null, null, reason);
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
    if (endsScope || runner.handles(type) || listener.wantsExchanges()) {
      agenda.add(new EventStep(type, event, false));
    }
  }

  // ---- what the runner tells and asks

  long now() {
    return now;
  }

  MacroTable macros() {
    return macros;
  }

  /** Hears that a handler is about to be called: an event of a message has begun one. */
  void begins(EventType type) {
    messageOpen |= type.inMessage();
  }

  /** Hears that the negotiation is being tried: somebody is there who must hear of the end. */
  void negotiating() {
    clientOpen = true;
  }

  /** Hears that the connection is to be closed when the agenda is done. */
  void close(Throwable cause) {
    closing = true;
    failure = failure == null ? cause : failure;
  }

  /** Hears that the end of message which follows the last piece of a body was answered with it. */
  void settledWithLastPiece() {
    agenda.removeFirst();
  }

  /** Draws the consequences of a reply. */
  void replied(EventType type, IPersistentMap reply) {
    ActionType verdict = ActionCodec.verdict(reply);
    if (verdict == ActionType.SKIP) {
      skippedEvents |= 1 << type.ordinal();
    }
    Session before = session;
    session = session.settle(type, verdict);
    boolean settles = session != before;
    if (settles) {
      settledReply = reply;
    }
    Keyword ended = settles && before.inMessage() ? Names.ofVerdict(verdict) : null;
    if (ended != null) {
      announceMessageEnd(ended);
    }
    if (ended != null || verdict != ActionType.CONTINUE && verdict != ActionType.SKIP) {
      listener.verdict(runner, type, reply, ended);
    }
  }

  /** Hears that an event which owes no reply is over. */
  void told(EventType type) {
    if (type == EventType.DISCONNECT) {
      macros = MacroTable.EMPTY;
    }
  }
}
