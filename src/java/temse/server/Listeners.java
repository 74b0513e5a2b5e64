package temse.server;

import java.util.List;
import java.util.function.Consumer;
import org.jspecify.annotations.Nullable;
import temse.protocol.Action;
import temse.protocol.Event;
import temse.protocol.EventType;
import temse.protocol.MessageEndReason;
import temse.protocol.MilterException;

/** Several listeners in turn: one that throws keeps nothing from the others. */
record Listeners(List<ServerListener> all) implements ServerListener {
  private void each(Consumer<ServerListener> report) {
    Throwable failure = null;
    for (ServerListener listener : all) {
      try {
        report.accept(listener);
      } catch (RuntimeException | Error e) {
        if (failure == null) {
          failure = e;
        } else if (failure != e) {
          failure.addSuppressed(e);
        }
      }
    }
    if (failure instanceof Error error) {
      throw error;
    }
    if (failure != null) {
      throw (RuntimeException) failure;
    }
  }

  @Override
  public void negotiated(ConnectionInfo connection) {
    each(listener -> listener.negotiated(connection));
  }

  @Override
  public void probed(ConnectionInfo connection, String what) {
    each(listener -> listener.probed(connection, what));
  }

  @Override
  public void closed(ConnectionInfo connection, @Nullable Throwable error) {
    each(listener -> listener.closed(connection, error));
  }

  @Override
  public void verdict(
      ConnectionInfo connection,
      @Nullable EventType event,
      Action.@Nullable Reply reply,
      @Nullable MessageEndReason ended) {
    each(listener -> listener.verdict(connection, event, reply, ended));
  }

  @Override
  public void violated(ConnectionInfo connection, MilterException error) {
    each(listener -> listener.violated(connection, error));
  }

  @Override
  public void failed(
      ConnectionInfo connection, EventType type, @Nullable Event event, Throwable error) {
    each(listener -> listener.failed(connection, type, event, error));
  }

  @Override
  public void outdated(OutdatedConnection connection) {
    each(listener -> listener.outdated(connection));
  }

  @Override
  public void refused(String peer, String why) {
    each(listener -> listener.refused(peer, why));
  }

  @Override
  public void troubled(String what) {
    each(listener -> listener.troubled(what));
  }

  @Override
  public boolean wantsExchanges() {
    boolean[] wanted = new boolean[1];
    each(listener -> wanted[0] |= listener.wantsExchanges());
    return wanted[0];
  }

  @Override
  public void exchanged(ConnectionInfo connection, Event event, List<Action> response, long nanos) {
    each(
        listener -> {
          if (listener.wantsExchanges()) {
            listener.exchanged(connection, event, response, nanos);
          }
        });
  }
}
