package temse.server.internal;

import clojure.lang.IObj;
import clojure.lang.IPersistentMap;
import clojure.lang.PersistentArrayMap;
import java.util.ArrayDeque;
import java.util.Arrays;
import java.util.List;
import java.util.Objects;
import java.util.Set;
import java.util.stream.Stream;
import temse.protocol.Action;
import temse.protocol.ActionType;
import temse.protocol.Agreement;
import temse.protocol.DisconnectReason;
import temse.protocol.EventCodec;
import temse.protocol.EventType;
import temse.protocol.Keys;
import temse.protocol.MacroStage;
import temse.protocol.MacroTable;
import temse.protocol.MessageEndReason;
import temse.protocol.MilterException;
import temse.protocol.Packet;
import temse.protocol.Phase;
import temse.server.EngineOptions;
import temse.server.internal.Entry.Way;

/**
 * What one MTA has sent and what is due for it, without threads, sockets or handlers: packets in,
 * entries out; replies in, consequences out.
 *
 * <p>A packet becomes one or more entries (a MAIL inside a message is an abort, the end of that
 * message, and the mail event). They are taken in order, and each is settled before the next. The
 * ledger keeps the state of the conversation, the macros, the scopes of SMTP client and message,
 * what is skipped, and the reply that has settled a message or a client.
 */
final class Ledger {
  private static final Packet END_OF_MESSAGE = new Packet('E');

  private static final String QUEUE_ID = "i";

  private static final EventType[] OF_MESSAGE =
      Arrays.stream(EventType.values()).filter(EventType::inMessage).toArray(EventType[]::new);

  /** The bytes of macros that may outlast their message, as they do in libmilter. */
  private static final int MACROS_KEPT = 4096;

  /** The bytes of what a client begins with that are kept for a service that follows. */
  private static final int GREETING_KEPT = 65535;

  /** Stands for what is longer. */
  private static final Packet TOO_LONG = new Packet('C');

  private final ArrayDeque<Entry> agenda = new ArrayDeque<>(4);
  private EngineOptions options;
  private MessageLimits limits;
  private final Faults faults = new Faults();

  private Envelope envelope = new Envelope();
  private Envelope endedEnvelope;
  private Phase phase = Phase.START;
  private MacroTable macros = MacroTable.EMPTY;
  private Agreement agreement;
  private Set<EventType> asked = Set.of();
  private boolean observed;
  private boolean headerObserved;
  private EventCollector collector;
  private Action.Reply settledReply;
  private int skipped;
  private int collected;
  private EventType reached;
  private boolean clientOpen;
  private boolean messageOpen;
  private int messages;

  /** What the client has begun with, or null. */
  private Packet connect;

  private Packet hello;

  /** Macros have come for the command that comes next. */
  private boolean announced;

  Ledger(EngineOptions options) {
    this.options = options;
    this.limits = new MessageLimits(options);
  }

  // ---- the negotiation

  /** A handler is there, for which the end is an event. */
  void negotiating() {
    clientOpen = true;
  }

  /** The events for which a handler has asked, until there is an agreement. */
  void asked(Set<EventType> events) {
    asked = events;
  }

  /**
   * The negotiation is over.
   *
   * @param collector what keeps events in passing, or null
   */
  void agreed(Agreement agreement, EventCollector collector) {
    this.agreement = agreement;
    this.collector = collector;
  }

  /** Says whether all events are decoded from now on, with all that belongs to them. */
  void observed(boolean observed) {
    this.observed = observed;
  }

  boolean handles(EventType type) {
    return agreement != null ? agreement.handles(type) : asked.contains(type);
  }

  // ---- packets in

  /**
   * Takes a packet: what is due for it is on the agenda then.
   *
   * @throws MilterException if the packet is malformed or out of order, or a limit is exceeded
   */
  void packet(Packet packet) {
    EventType type = EventCodec.type(packet);
    Phase next = phase.after(type, agreement != null && agreement.suppresses(EventType.MAIL));
    if (phase.aborts(type)) {
      announceAbort(MessageEndReason.ABORTED);
    }
    Phase before = phase;
    phase = next;
    macros = macrosAfter(type, packet);
    remember(type, packet);
    switch (type) {
      case OPTIONS -> add(type, Way.CALL, EventCodec.decode(packet), null, null);
      case DEFINE_MACRO -> {
        if (handles(type) || observed) {
          schedule(type, packet);
        }
      }
      case ABORT -> {}
      case QUIT -> {
        schedule(type, packet);
        announceDisconnect(DisconnectReason.QUIT);
      }
      case DISCONNECT -> announceDisconnect(DisconnectReason.NEW_CONNECTION);
      default -> {
        clientOpen = true;
        if (phase.inMessage() && !before.inMessage() || type == EventType.MAIL) {
          beginMessage();
        }
        envelope.add(type, packet);
        if (type.inMessage() ? !phase.inMessage() : phase == Phase.CONNECTION_SETTLED) {
          Action.Reply reply = type == EventType.UNKNOWN ? Action.proceed() : settledReply;
          add(type, Way.REPEAT, null, null, reply);
        } else if (type == EventType.END_OF_MESSAGE && packet.payload().length > 0) {
          scheduleWithLastPiece(packet);
        } else {
          schedule(type, packet);
        }
      }
    }
  }

  private void remember(EventType type, Packet packet) {
    announced = type == EventType.DEFINE_MACRO;
    switch (type) {
      case CONNECT -> {
        connect = kept(packet);
        hello = null;
      }
      case HELLO -> hello = kept(packet);
      case DISCONNECT -> {
        connect = null;
        hello = null;
      }
      default -> {}
    }
  }

  private static Packet kept(Packet packet) {
    return packet.payload().length > GREETING_KEPT ? TOO_LONG : packet;
  }

  private MacroTable macrosAfter(EventType type, Packet packet) {
    if (type != EventType.DEFINE_MACRO) {
      return type == EventType.QUIT || type == EventType.DISCONNECT ? macros : macros.after(type);
    }
    MacroTable more = macros.with(packet);
    if (more.octets() > options.maximumMacroBytes()) {
      throw MessageLimits.exceeded(
          "the macros of the connection have", options.maximumMacroBytes(), "bytes");
    }
    return more;
  }

  private void beginMessage() {
    skipped = 0;
    headerObserved = observed;
    limits.messageBegins();
    faults.messageBegins();
    collected = collector == null ? 0 : collectable();
  }

  private int collectable() {
    int types = 0;
    for (EventType type : OF_MESSAGE) {
      if (!agreement.owesReply(type) && collector.collects(type)) {
        types |= 1 << type.ordinal();
      }
    }
    return types;
  }

  private void schedule(EventType type, Packet packet) {
    if (handles(type) && !skips(type)) {
      MilterException excess = limits.count(type, packet);
      if (excess == null) {
        Way way = collects(type) ? Way.COLLECT : Way.CALL;
        if (way == Way.COLLECT && type == EventType.HEADER && !observed && !headerObserved) {
          agenda.add(Entry.collecting(EventCodec.decodeField(packet, headerPrefix()), packet));
        } else {
          add(type, way, decode(type, packet), packet, null);
        }
      } else {
        agenda.add(
            new Entry(type, Way.EXCEED, EventCodec.decode(packet), null, packet, null, excess));
      }
    } else {
      Action.Reply reply = skips(type) ? Action.proceed() : options.defaultReply(type);
      add(type, Way.DEFAULT, observed ? decode(type, packet) : null, packet, reply);
    }
  }

  /** An end of message that carries the last piece of the body is two events and owes one reply. */
  private void scheduleWithLastPiece(Packet packet) {
    if (handles(EventType.BODY) && !skips(EventType.BODY)) {
      add(EventType.BODY, Way.CALL_BEFORE_END, decode(EventType.BODY, packet), packet, null);
    }
    schedule(EventType.END_OF_MESSAGE, END_OF_MESSAGE);
  }

  private void add(
      EventType type, Way way, IPersistentMap event, Packet packet, Action.Reply reply) {
    agenda.add(new Entry(type, way, event, null, packet, reply, null));
  }

  private boolean skips(EventType type) {
    return (skipped & 1 << type.ordinal()) != 0;
  }

  private boolean collects(EventType type) {
    return (collected & 1 << type.ordinal()) != 0;
  }

  /** Returns the space that a value begins with where the MTA has taken it off against our wish. */
  private String headerPrefix() {
    return agreement.emulatesLeadingSpace() ? " " : "";
  }

  private IPersistentMap decode(EventType type, Packet packet) {
    IPersistentMap event =
        switch (type) {
          case BODY -> EventCodec.event(type, Keys.DATA, packet.payload());
          case HEADER ->
              EventCodec.decodeHeader(
                  packet, headerPrefix(), countsHeader(type) ? limits.header() : null);
          default -> EventCodec.decode(packet);
        };
    return options.keepPayload()
        ? (IPersistentMap)
            ((IObj) event)
                .withMeta(new PersistentArrayMap(new Object[] {Keys.PAYLOAD, packet.payload()}))
        : event;
  }

  /** Header fields are counted by name from the first of a message on, or not at all. */
  private boolean countsHeader(EventType type) {
    return headerObserved || handles(type) && !collects(type) && !skips(type);
  }

  // ---- a service that follows

  /**
   * Returns true if another service may take over before the packet: a client or message begins.
   */
  boolean mayChangeBefore(Packet packet) {
    if (announced || phase.inMessage()) {
      return false;
    }
    if (phase == Phase.START || phase == Phase.CONNECTION_SETTLED || phase == Phase.CLOSED) {
      return false;
    }
    boolean mailSuppressed = agreement != null && agreement.suppresses(EventType.MAIL);
    return switch (EventCodec.type(packet)) {
      case CONNECT, HELLO, MAIL -> true;
      case DEFINE_MACRO -> mailSuppressed || isForBeginning(packet);
      case RECIPIENT, DATA, HEADER, END_OF_HEADERS, BODY, END_OF_MESSAGE -> mailSuppressed;
      default -> false;
    };
  }

  private static boolean isForBeginning(Packet macros) {
    MacroStage stage =
        macros.payload().length == 0 ? null : MacroStage.ofLetter(macros.payload()[0]);
    return stage == MacroStage.CONNECT || stage == MacroStage.HELLO || stage == MacroStage.MAIL;
  }

  /** Another service is to take over. */
  void change() {
    add(EventType.OPTIONS, Way.CHANGE, null, null, null);
  }

  /**
   * Returns what the client has begun with, with its macros: what another service must receive
   * first.
   */
  List<Packet> greeting() {
    return Stream.of(
            macros.packet(MacroStage.CONNECT), connect, macros.packet(MacroStage.HELLO), hello)
        .filter(Objects::nonNull)
        .toList();
  }

  /** Returns what the client has begun with and is too long to be received again, or null. */
  EventType beyondGreeting() {
    return connect == TOO_LONG ? EventType.CONNECT : hello == TOO_LONG ? EventType.HELLO : null;
  }

  /** The service that has had the client is to be left. */
  void leave() {
    announceDisconnect(DisconnectReason.REPLACED);
  }

  /** What comes is served with other options. */
  void serve(EngineOptions next) {
    options = next;
    limits = new MessageLimits(next);
  }

  /** Another service has taken over, with an agreement of its own: see {@link #agreed}. */
  void changed(Agreement agreement, EventCollector collector) {
    connect = null;
    hello = null;
    macros = MacroTable.EMPTY;
    negotiating();
    agreed(agreement, collector);
  }

  /** Takes a packet of the greeting again, for the service that has taken over. */
  void replay(Packet packet) {
    EventType type = EventCodec.type(packet);
    macros = macrosAfter(type, packet);
    remember(type, packet);
    if (phase == Phase.CONNECTION_SETTLED) {
      return;
    }
    if (type == EventType.DEFINE_MACRO) {
      schedule(type, packet);
    } else {
      add(type, Way.REPLAY, decode(type, packet), packet, options.defaultReply(type));
    }
  }

  // ---- entries out

  /** {@return the entry whose turn it is, or null if nothing is due} */
  Entry next() {
    return agenda.peek();
  }

  /** The turn of the next entry has begun: an event of a message opens it, and has been reached. */
  void begin() {
    Entry entry = agenda.remove();
    if (entry.type().inMessage() && entry.way() != Way.REPEAT) {
      messages = messageOpen ? messages : messages + 1;
      messageOpen = true;
      reached = entry.type();
    }
  }

  /** The end of message that comes next was answered together with the last piece of its body. */
  void dropEnd() {
    reached = agenda.remove().type();
  }

  // ---- faults

  /** Notes why the filter has not seen the event as it should have: see {@link Faults}. */
  void fault(EventType type, Throwable error) {
    faults.add(type, error, phase.inMessage());
  }

  /** {@return what the error policy has to decide at the event, or null} */
  Throwable fault(EventType type) {
    return faults.at(type, phase.inMessage());
  }

  /** The error policy has answered the event in view of the fault. */
  void decided(EventType type) {
    faults.decided(type);
  }

  // ---- replies in, consequences out

  /**
   * Draws the consequences of a reply.
   *
   * @param verdict what the reply amounts to: see {@link temse.protocol.Action.Reply#verdict}
   * @return how the message ended by it, or null if none has
   */
  MessageEndReason replied(EventType type, Action.Reply reply, ActionType verdict) {
    if (verdict == ActionType.SKIP) {
      skipped |= 1 << type.ordinal();
    }
    Phase before = phase;
    phase = phase.settle(type, verdict);
    if (phase == before) {
      return null;
    }
    settledReply = reply;
    if (!before.inMessage()) {
      return null;
    }
    MessageEndReason ended = MessageEndReason.of(verdict);
    announceMessageEnd(ended);
    return ended;
  }

  /** An event that owes no reply is over: what belongs to the scope that it ends is dropped. */
  void endedWithoutReply(EventType type) {
    if (type == EventType.DISCONNECT) {
      macros = MacroTable.EMPTY;
      faults.clientEnds();
    } else if (type == EventType.MESSAGE_END && !phase.inMessage()) {
      if (macros.octets() > MACROS_KEPT) {
        macros = macros.after(EventType.HELLO);
      }
      limits.messageBegins();
      endedEnvelope = null;
      settledReply = phase == Phase.CONNECTED ? null : settledReply;
    }
  }

  /**
   * The connection is over: what still owes a reply is dropped, and the ends of message and client
   * are due.
   */
  void ended(DisconnectReason reason) {
    agenda.removeIf(entry -> entry.type().owesReply() || entry.type() == EventType.OPTIONS);
    announceAbort(MessageEndReason.LOST);
    announceDisconnect(reason);
    phase = Phase.CLOSED;
  }

  private void announceAbort(MessageEndReason reason) {
    if (messageOpen) {
      announce(EventType.ABORT, EventCodec.event(EventType.ABORT, Keys.AT, reached.keyword));
      announceMessageEnd(reason);
    }
  }

  private void announceMessageEnd(MessageEndReason reason) {
    messageOpen = false;
    envelope.named(macros.get(QUEUE_ID));
    endedEnvelope = envelope;
    envelope = envelope.next();
    announce(
        EventType.MESSAGE_END,
        EventCodec.event(
            EventType.MESSAGE_END, Keys.REASON, reason.keyword, Keys.AT, reached.keyword));
  }

  private void announceDisconnect(DisconnectReason reason) {
    if (clientOpen) {
      clientOpen = false;
      announce(
          EventType.DISCONNECT,
          EventCodec.event(EventType.DISCONNECT, Keys.REASON, reason.keyword));
    }
  }

  private void announce(EventType type, IPersistentMap event) {
    add(type, handles(type) ? Way.CALL : Way.DEFAULT, event, null, null);
  }

  // ---- what holds now

  /** {@return what was agreed, or null before} */
  Agreement agreement() {
    return agreement;
  }

  MacroTable macros() {
    return macros;
  }

  /** {@return what is known of the mail at hand, or of the one that has just ended} */
  Envelope envelope(boolean ended) {
    if (ended) {
      return endedEnvelope;
    }
    envelope.named(macros.get(QUEUE_ID));
    return envelope;
  }

  boolean inMessage() {
    return phase.inMessage();
  }

  /** {@return the number of the message that the event at hand belongs to, from 1; 0 for none} */
  int mail(EventType type) {
    return messageOpen || type == EventType.ABORT || type == EventType.MESSAGE_END ? messages : 0;
  }

  boolean isOver() {
    return phase == Phase.CLOSED;
  }

  /** {@return true if nothing is due and no message is in progress} */
  boolean isIdle() {
    return agenda.isEmpty() && !phase.inMessage();
  }
}
