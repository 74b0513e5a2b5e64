package temse.server.internal;

import clojure.lang.IPersistentMap;
import java.time.InstantSource;
import java.util.List;
import java.util.function.LongSupplier;
import temse.protocol.Agreement;
import temse.protocol.EventType;
import temse.protocol.MacroTable;
import temse.protocol.MilterException;
import temse.protocol.Missing;
import temse.protocol.Negotiation;
import temse.protocol.Offer;
import temse.protocol.Request;
import temse.protocol.Transaction;
import temse.server.ConnectionInfo;
import temse.server.EngineOptions;
import temse.server.MailInfo;
import temse.server.MilterHandler;
import temse.server.OutdatedConnection;
import temse.transport.internal.Link;

/** What lives as long as one connection, for its engine and for each event in its turn. */
final class ConnectionState implements ConnectionInfo, Served {
  final Counts counters;
  final Link link;
  final Ledger ledger;
  final Reports reports;
  final Answer answer = new Answer(this);
  private final Succession succession;
  private final long id;
  private final LongSupplier clock;

  /** How the connection is served: by the service that it has. */
  volatile EngineOptions options;

  private volatile Service service;

  /** What was agreed with the MTA, whichever service holds now; null before. */
  private volatile Agreement negotiated;

  private volatile Succession.Refusal refusal;

  /** The service that takes over when the one at hand has been left, or null. */
  private Successor successor;

  /** The handler that the factory has made, or null before the negotiation. */
  MilterHandler handler;

  /** What is known of the client and its mail, as far as the handler has asked for it. */
  Transaction transaction = Transaction.NONE;

  /** Whether something was written for the last packet. */
  boolean answered = true;

  /** The call whose handler may hold the connection while the MTA wants progress. */
  volatile EventCall holding;

  private int reportedOnce;
  private volatile boolean closing;
  private Throwable failure;

  ConnectionState(Succession succession, Counts counters, Link link, long id, LongSupplier clock) {
    this.succession = succession;
    this.service = succession.current();
    this.options = service.options();
    this.counters = counters;
    this.link = link;
    this.id = id;
    this.clock = clock;
    this.ledger = new Ledger(options);
    this.reports = new Reports(service.listener(), this, counters);
    succession.opened(this);
  }

  /** A service that is to take over, with its handler and what holds for it. */
  private record Successor(
      Service service, MilterHandler handler, Agreement agreement, boolean wantsExchanges) {}

  /** It is equal to each of its calls. */
  @Override
  public boolean equals(Object other) {
    return other == this || other instanceof EventCall call && call.isOf(this);
  }

  @Override
  public int hashCode() {
    return System.identityHashCode(this);
  }

  @Override
  public Counts counts() {
    return counters;
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

  @Override
  public MailInfo mailInfo() {
    return ledger.envelope(false).info();
  }

  /** {@return the time on the scale of {@link System#nanoTime}} */
  long clock() {
    return clock.getAsLong();
  }

  /** {@return true if a handler may answer the event} */
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

  /** {@return true if the MTA waits for a reply to the event} */
  boolean owesReply(EventType type) {
    Agreement agreement = ledger.agreement();
    return agreement != null && agreement.owesReply(type);
  }

  /** {@return true if progress may be sent while the event is open} */
  boolean allowsProgress(EventType type) {
    return options.progressEvents().contains(type) && owesReply(type);
  }

  /**
   * Sends progress at once, unless earlier packets wait for the MTA to take them: more would only
   * fill the memory. To be called in the connection's turn.
   */
  void writeProgress() {
    if (!link.isCongested()) {
      ResponseWriter.writeProgress(link.output());
      link.flush();
    }
  }

  /**
   * Does what {@link #writeProgress} does. To be called by another thread while a handler holds the
   * connection.
   */
  void writeProgressNow() {
    if (!link.isCongested()) {
      link.writeNow(ResponseWriter.progress());
    }
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

  @Override
  public boolean isEnding() {
    return closing;
  }

  /** {@return the error for which the connection closes, or null} */
  Throwable failure() {
    return failure;
  }

  // ---- the handler's scopes

  /**
   * Answers the offer of the MTA.
   *
   * @throws MilterException if there can be no agreement
   */
  void negotiate(EventCall call, IPersistentMap offer) throws Exception {
    ledger.negotiating();
    serve(succession.current());
    reports.open();
    handler = service.factory().open(this);
    Request request = handler.request(call, offer);
    ledger.asked(request.events());
    Agreement agreement = Negotiation.agree(Offer.of(offer), request, options.maximumPacketSize());
    negotiated = agreement;
    ledger.agreed(agreement, collector());
    transaction = transactionOf(request);
    handler.negotiated(agreement);
    agreement.packet().writeTo(link.output());
    answered = true;
    reports.negotiated();
  }

  private EventCollector collector() {
    return handler instanceof EventCollector collector ? collector : null;
  }

  private static Transaction transactionOf(Request request) {
    return request.facts().isEmpty() ? Transaction.NONE : Transaction.of(request.facts());
  }

  // ---- the service that follows

  /** Returns the service that the connection has. Any thread. */
  Service service() {
    return service;
  }

  /** Returns what was agreed with the MTA, or null before. Any thread. */
  Agreement negotiatedAgreement() {
    return negotiated;
  }

  /** Returns why the connection keeps its service, or null. Any thread. */
  Succession.Refusal refusal() {
    return refusal;
  }

  /** Returns true if there is another service, which the connection has not refused. */
  boolean mayChange() {
    Service now = succession.current();
    return now != service && (refusal == null || refusal.service() != now);
  }

  /**
   * Asks the service of now what it wants of the MTA, and returns true if it can have that: it is
   * to take over then. To be called where foreign code may run.
   */
  boolean prepare() {
    Service next = succession.current();
    EventCall call = new EventCall(this, EventType.OPTIONS, false, false, false);
    IPersistentMap offer = negotiated.offer().event();
    call.running();
    try {
      MilterHandler candidate = next.factory().open(this);
      Request request = candidate.request(call, offer);
      EventType beyond = ledger.beyondGreeting();
      Missing missing =
          beyond == null ? Negotiation.missing(negotiated, request) : Missing.event(beyond);
      if (missing.isEmpty()) {
        Agreement agreement = Negotiation.takeOver(negotiated, request);
        candidate.negotiated(agreement);
        boolean observed = next.listener().wantsExchanges();
        successor = new Successor(next, candidate, agreement, observed);
      } else {
        refuse(next, missing, null);
        candidate.scopeEnded(EventType.DISCONNECT);
      }
    } catch (Throwable e) {
      refuse(next, Missing.NOTHING, worded(e));
    } finally {
      call.end();
    }
    return successor != null;
  }

  private void refuse(Service next, Missing missing, Throwable failure) {
    if (refusal == null || refusal.service() != next) {
      OutdatedConnection report = new OutdatedConnection(id, peer(), missing, failure);
      refusal = new Succession.Refusal(next, report);
      reports.outdated(report);
    }
  }

  /** The service at hand has been left: the one that was to take over does, if there is one. */
  void change() {
    Successor next = successor;
    if (next != null) {
      successor = null;
      refusal = null;
      serve(next.service);
      reports.wantExchanges(next.wantsExchanges);
      handler = next.handler;
      transaction = transactionOf(next.agreement.request());
      reportedOnce = 0;
      ledger.changed(next.agreement, collector());
      if (reports.wantExchanges()) {
        IPersistentMap offer = negotiated.offer().event();
        reports.exchanged(EventType.OPTIONS, offer, List.of(), 0, Reports.States.NONE, null);
      }
    }
  }

  private void serve(Service next) {
    service = next;
    options = next.options();
    ledger.serve(options);
    reports.goTo(next.listener());
  }

  /** The connection is over. */
  void ended() {
    succession.ended(this);
  }

  /** Returns what is known at an event for which the handler is about to be called. */
  Transaction transactionAt(EventType type, IPersistentMap event) {
    if (transaction != Transaction.NONE) {
      transaction = transaction.after(type, event, macros(), InstantSource.system());
    }
    return transaction;
  }

  /** What belongs to a message or to an SMTP client ends with its last event. */
  boolean endsScope(EventType type) {
    return handler != null && (type == EventType.MESSAGE_END || type == EventType.DISCONNECT);
  }

  /** Has the handler drop what belongs to the scope that the event ends, if it ends one. */
  void endScope(Entry entry) {
    if (endsScope(entry.type())) {
      if (transaction != Transaction.NONE) {
        transaction = transaction.ended(entry.type());
      }
      try {
        handler.scopeEnded(entry.type());
      } catch (Throwable e) {
        report(entry, e);
      }
    }
  }

  // ---- what is counted

  /** The turn of the next entry has begun. */
  void begin() {
    counters.began(ledger.next().type());
    ledger.begin();
  }

  // ---- reports

  /** {@return an error in the words of whoever wrote the handler} */
  MilterException worded(MilterException error) {
    return options.keywords() ? error : error.inJava();
  }

  /** {@return what a handler threw or its answer came to, the library's errors in its words} */
  Throwable worded(Throwable error) {
    return error instanceof MilterException known ? worded(known) : error;
  }

  /** Reports that the handler of an event has failed, or that there is no agreement. */
  void report(Entry entry, Throwable error) {
    counters.failed(error);
    EventType type = entry.type();
    MilterException.Category category =
        error instanceof MilterException known ? known.category() : null;
    boolean unanswerable =
        category == MilterException.Category.REPLY_NOT_ALLOWED && !mayAnswer(type);
    if (unanswerable && !isFirst(type)) {
      return;
    }
    if (type == EventType.OPTIONS && error instanceof MilterException refusal) {
      reports.violated(worded(refusal));
    } else {
      reports.failed(type, entry.event(), worded(error));
    }
  }

  /** {@return true once per event type: what many events have in common is said once} */
  boolean isFirst(EventType type) {
    int bit = 1 << type.ordinal();
    boolean first = (reportedOnce & bit) == 0;
    reportedOnce |= bit;
    return first;
  }
}
