package temse.server.internal;

import clojure.lang.IPersistentMap;
import java.util.ArrayDeque;
import java.util.List;
import temse.protocol.Agreement;
import temse.protocol.EventType;
import temse.protocol.Keys;
import temse.protocol.MacroTable;
import temse.protocol.MessageEndReason;
import temse.protocol.MilterException;
import temse.server.ConnectionInfo;
import temse.server.ServerListener;

/**
 * What a listener is to receive about one connection, guarded: a listener is foreign code, which
 * may throw and may block.
 *
 * <p>Reports wait here until the engine delivers them as it calls a handler, so that a loop can
 * leave a listener that blocks. Nothing that a listener throws gets out of here.
 */
final class Reports {
  private final ServerListener listener;
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

  /** Returns true if the listener wants exchanges, as it said when the connection negotiated. */
  boolean wantExchanges() {
    return wantsExchanges;
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

  void exchanged(IPersistentMap event, List<IPersistentMap> response, long nanos) {
    add(() -> listener.exchanged(connection, event, response, nanos));
  }

  void verdict(EventType event, IPersistentMap reply, MessageEndReason ended) {
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
  }

  /**
   * An event without a reply is over: a message that no reply has ended is reported with its end.
   */
  void told(Entry entry) {
    if (entry.type() == EventType.MESSAGE_END) {
      MessageEndReason reason = MessageEndReason.ofKeyword(entry.event().valAt(Keys.REASON));
      if (reason == MessageEndReason.ABORTED || reason == MessageEndReason.LOST) {
        verdict(null, null, reason);
      }
    }
  }

  void failed(EventType type, IPersistentMap event, Throwable error) {
    ConnectionInfo about = about(type == EventType.ABORT || type == EventType.MESSAGE_END);
    add(() -> listener.failed(about, type, event, error));
  }

  void violated(MilterException error) {
    add(() -> listener.violated(connection, error));
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
