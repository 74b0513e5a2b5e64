package temse.server.internal;

import clojure.lang.IPersistentMap;
import java.util.List;
import java.util.function.LongSupplier;
import temse.protocol.Agreement;
import temse.protocol.EventCodec;
import temse.protocol.EventType;
import temse.protocol.MacroTable;
import temse.protocol.MilterException;
import temse.protocol.Negotiation;
import temse.protocol.Offer;
import temse.protocol.Packet;
import temse.protocol.Request;
import temse.server.ConnectionInfo;
import temse.server.EngineOptions;
import temse.server.MilterFactory;
import temse.server.MilterHandler;
import temse.server.ServerListener;
import temse.transport.internal.Link;

/** What lives as long as one connection, for its engine and for each event in its turn. */
final class ConnectionState implements ConnectionInfo {
  final MilterFactory factory;
  final EngineOptions options;
  final Counts counters;
  final Link link;
  final Ledger ledger;
  final Reports reports;
  final Answer answer = new Answer(this);
  private final long id;
  private final LongSupplier clock;

  /** The handler that the factory has made, or null before the negotiation. */
  MilterHandler handler;

  /** Whether something was written for the last packet. */
  boolean answered = true;

  /** The call whose handler may hold the connection while the MTA wants progress. */
  volatile EventCall holding;

  private int reportedOnce;
  private volatile boolean closing;
  private Throwable failure;

  ConnectionState(
      MilterFactory factory,
      EngineOptions options,
      ServerListener listener,
      Counts counters,
      Link link,
      long id,
      LongSupplier clock) {
    this.factory = factory;
    this.options = options;
    this.counters = counters;
    this.link = link;
    this.id = id;
    this.clock = clock;
    this.ledger = new Ledger(options);
    this.reports = new Reports(listener, this, counters);
  }

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
    return ledger.agreement();
  }

  @Override
  public MacroTable macros() {
    return ledger.macros();
  }

  @Override
  public String mail() {
    return ledger.envelope(false).toString();
  }

  /** Returns the time on the scale of {@link System#nanoTime}. */
  long clock() {
    return clock.getAsLong();
  }

  /** Returns true if a handler may answer the event. */
  boolean mayAnswer(EventType type) {
    Agreement agreement = ledger.agreement();
    return agreement != null && agreement.mayAnswer(type);
  }

  /**
   * Returns true if the error policy can answer the event: the MTA waits for a reply, and the event
   * is not only watched. An end of message it can answer in any case, since no later event could
   * defer the message.
   */
  boolean mayDecide(EventType type) {
    return owesReply(type) && (mayAnswer(type) || type == EventType.END_OF_MESSAGE);
  }

  /** Returns true if the MTA waits for a reply to the event. */
  boolean owesReply(EventType type) {
    Agreement agreement = ledger.agreement();
    return agreement != null && agreement.owesReply(type);
  }

  /** Returns true if progress may be sent while the event is open. */
  boolean allowsProgress(EventType type) {
    return options.progressEvents().contains(type) && owesReply(type);
  }

  /** Sends progress at once. To be called in the connection's turn. */
  void writeProgress() {
    ResponseWriter.writeProgress(link.output());
    link.flush();
  }

  /**
   * Sends progress at once. To be called by another thread while a handler holds the connection.
   */
  void writeProgressNow() {
    link.writeNow(ResponseWriter.progress());
  }

  /** Closes the connection when the event at hand is settled; any thread. */
  void close() {
    closing = true;
  }

  /** Closes the connection for an error, unless another one came first. */
  void close(Throwable error) {
    closing = true;
    failure = failure == null ? error : failure;
  }

  boolean isClosing() {
    return closing;
  }

  /** Returns the error for which the connection closes, or null. */
  Throwable failure() {
    return failure;
  }

  // ---- the handler's scopes

  /**
   * Answers the offer of the MTA, and returns what was answered, if the listener wants it.
   *
   * @throws MilterException if there can be no agreement
   */
  List<IPersistentMap> negotiate(EventCall call, IPersistentMap offer) throws Exception {
    ledger.negotiating();
    reports.open();
    handler = factory.open(this);
    Request request = handler.request(call, offer);
    ledger.asked(request.events());
    Agreement agreement = Negotiation.agree(Offer.of(offer), request, options.maximumPacketSize());
    Packet answer = agreement.packet();
    ledger.agreed(agreement, reports.wantExchanges());
    handler.negotiated(agreement);
    ResponseWriter.write(answer, link.output());
    answered = true;
    reports.negotiated();
    return reports.wantExchanges() ? List.of(EventCodec.decode(answer)) : List.of();
  }

  /** What belongs to a message or to an SMTP client ends with its last event. */
  boolean endsScope(EventType type) {
    return handler != null && (type == EventType.MESSAGE_END || type == EventType.DISCONNECT);
  }

  /** Has the handler drop what belongs to the scope that the event ends, if it ends one. */
  void endScope(Entry entry) {
    if (endsScope(entry.type())) {
      try {
        handler.scopeEnded(entry.type());
      } catch (Throwable e) {
        report(entry, e);
      }
    }
  }

  // ---- reports

  /** Reports that the handler of an event has failed, or that there is no agreement. */
  void report(Entry entry, Throwable error) {
    EventType type = entry.type();
    MilterException.Category category =
        error instanceof MilterException known ? known.category() : null;
    boolean unanswerable =
        category == MilterException.Category.REPLY_NOT_ALLOWED && !mayAnswer(type);
    if (unanswerable && !isFirst(type)) {
      return;
    }
    if (type == EventType.OPTIONS && error instanceof MilterException refusal) {
      reports.violated(refusal);
    } else {
      reports.failed(type, entry.event(), error);
    }
  }

  /** Returns true once per event type: what many events have in common is said once. */
  boolean isFirst(EventType type) {
    int bit = 1 << type.ordinal();
    boolean first = (reportedOnce & bit) == 0;
    reportedOnce |= bit;
    return first;
  }
}
