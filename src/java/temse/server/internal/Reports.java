package temse.server.internal;

import clojure.lang.IPersistentMap;
import java.time.Duration;
import java.time.Instant;
import java.util.ArrayDeque;
import java.util.List;
import temse.protocol.Action;
import temse.protocol.Agreement;
import temse.protocol.Event;
import temse.protocol.EventType;
import temse.protocol.MacroTable;
import temse.protocol.MessageEndReason;
import temse.protocol.MilterException;
import temse.server.ConnectionInfo;
import temse.server.Exchange;
import temse.server.MailInfo;
import temse.server.MilterHandler;
import temse.server.OutdatedConnection;
import temse.server.ServerListener;

/**
 * What a listener is to receive about one connection, guarded: a listener is foreign code, which
 * may throw and may block.
 *
 * <p>Reports wait here until the engine delivers them as it calls a handler, so that a loop can
 * leave a listener that blocks. Nothing that a listener throws gets out of here.
 */
final class Reports {
  private ServerListener listener;
  private final ConnectionState connection;
  private final Counts counters;
  private ArrayDeque<Runnable> waiting;
  private boolean wantsExchanges;

  Reports(ServerListener listener, ConnectionState connection, Counts counters) {
    this.listener = listener;
    this.connection = connection;
    this.counters = counters;
  }

  /** Asks the listener whether it wants exchanges. To be called as {@link #deliver} is. */
  void open() {
    try {
      wantsExchanges = listener.wantsExchanges();
    } catch (Throwable e) {
      failed(e);
    }
  }

  /** What is reported from now on goes to another listener; nothing waits for the one at hand. */
  void goTo(ServerListener next) {
    listener = next;
  }

  /** Sets what the listener has answered when it was asked whether it wants exchanges. */
  void wantExchanges(boolean wanted) {
    wantsExchanges = wanted;
  }

  /**
   * Returns true if the listener wants exchanges, as it said when the connection negotiated, or
   * somebody watches the server now.
   */
  boolean wantExchanges() {
    return wantsExchanges || counters.watchers().any();
  }

  boolean areWaiting() {
    return waiting != null && !waiting.isEmpty();
  }

  /** Gives the listener what waits. To be called where foreign code may run. */
  void deliver() {
    for (Runnable report; (report = waiting.poll()) != null; ) {
      try {
        report.run();
      } catch (Throwable e) {
        failed(e);
      }
    }
  }

  private void failed(Throwable e) {
    counters.listenerFailed();
    LastResort.report("a listener", e);
  }

  void negotiated() {
    add(() -> listener.negotiated(connection));
  }

  void exchanged(
      EventType type,
      IPersistentMap event,
      List<Action> response,
      long nanos,
      States states,
      Throwable failure) {
    if (wantsExchanges) {
      add(() -> listener.exchanged(connection, Event.view(type, event), response, nanos));
    }
    Watchers watchers = counters.watchers();
    if (watchers.any()) {
      int mail = connection.ledger.mail(type);
      Instant at = Instant.now();
      cleanUp(
          () ->
              watchers.report(
                  new Exchange(
                      connection,
                      mail,
                      Event.view(type, event),
                      response,
                      at,
                      Duration.ofNanos(nanos),
                      states.before(),
                      states.after(),
                      failure),
                  this::failed));
    }
  }

  /**
   * {@return the states of a handler around the last event. To be called as {@link #deliver} is}
   */
  States statesOf(MilterHandler handler) {
    try {
      return new States(handler.stateBefore(), handler.state());
    } catch (Throwable e) {
      failed(e);
      return States.NONE;
    }
  }

  /** The states of a handler around an event, for who watches; null where there are none. */
  record States(Object before, Object after) {
    static final States NONE = new States(null, null);
  }

  void verdict(EventType event, Action.Reply reply, MessageEndReason ended) {
    ConnectionInfo about = about(ended != null);
    add(() -> listener.verdict(about, event, reply, ended));
  }

  private ConnectionInfo about(boolean ended) {
    return new About(connection, connection.ledger.envelope(ended));
  }

  /** A connection with the mail that a report is about, which may be over when it is delivered. */
  private record About(ConnectionInfo connection, Envelope envelope) implements ConnectionInfo {
    @Override
    public long id() {
      return connection.id();
    }

    @Override
    public String peer() {
      return connection.peer();
    }

    @Override
    public Agreement agreement() {
      return connection.agreement();
    }

    @Override
    public MacroTable macros() {
      return connection.macros();
    }

    @Override
    public String mail() {
      return envelope.toString();
    }

    @Override
    public MailInfo mailInfo() {
      return envelope.info();
    }
  }

  void failed(EventType type, IPersistentMap event, Throwable error) {
    ConnectionInfo about = about(type == EventType.ABORT || type == EventType.MESSAGE_END);
    add(() -> listener.failed(about, type, event == null ? null : Event.view(type, event), error));
  }

  void violated(MilterException error) {
    add(() -> listener.violated(connection, error));
  }

  void probed(String what) {
    add(() -> listener.probed(connection, what));
  }

  void outdated(OutdatedConnection report) {
    add(() -> listener.outdated(report));
  }

  void closed(Throwable error) {
    add(() -> listener.closed(connection, error));
  }

  private void add(Runnable report) {
    if (listener != ServerListener.SILENT) {
      cleanUp(report);
    }
  }

  /** Has other foreign code run where reports are delivered, in its turn. */
  void cleanUp(Runnable work) {
    if (waiting == null) {
      waiting = new ArrayDeque<>(4);
    }
    waiting.add(work);
  }
}
