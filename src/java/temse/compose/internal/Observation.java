package temse.compose.internal;

import clojure.lang.IPersistentMap;
import java.util.ArrayList;
import java.util.List;
import org.jspecify.annotations.Nullable;
import temse.protocol.Action;
import temse.protocol.Agreement;
import temse.protocol.Event;
import temse.protocol.EventType;
import temse.protocol.MessageEndReason;
import temse.protocol.MilterException;
import temse.protocol.Request;
import temse.server.ConnectionInfo;
import temse.server.MilterConnection;
import temse.server.MilterFactory;
import temse.server.MilterHandler;
import temse.server.ServerListener;

/**
 * What a sequence observes of one of its filters: what it asks of the MTA, what answers an event,
 * and the error that ends its connection.
 */
final class Observation implements MilterFactory, ServerListener {
  private final MilterFactory factory;
  private final ServerListener listener;
  private final List<IPersistentMap> answers = new ArrayList<>();
  private @Nullable Request request;
  private @Nullable Throwable failure;

  Observation(MilterFactory factory, ServerListener listener) {
    this.factory = factory;
    this.listener = listener;
  }

  Request request() {
    return request;
  }

  /** An event begins: nothing has answered it yet. */
  void begin() {
    answers.clear();
  }

  List<IPersistentMap> answers() {
    return List.copyOf(answers);
  }

  void throwFailure() {
    if (failure instanceof Error error) {
      throw error;
    }
    if (failure instanceof RuntimeException known) {
      throw known;
    }
    if (failure != null) {
      throw new IllegalStateException(failure);
    }
  }

  // ---- what it asks

  @Override
  public MilterHandler open(ConnectionInfo connection) throws Exception {
    MilterHandler handler = factory.open(connection);
    return new MilterHandler() {
      @Override
      public Request request(MilterConnection connection, IPersistentMap offer) throws Exception {
        request = handler.request(connection, offer);
        return request;
      }

      @Override
      public void negotiated(Agreement agreement) {
        handler.negotiated(agreement);
      }

      @Override
      public @Nullable List<IPersistentMap> onEvent(
          MilterConnection connection, EventType type, IPersistentMap event) throws Exception {
        return handler.onEvent(connection, type, event);
      }

      @Override
      public List<IPersistentMap> onError(
          MilterConnection connection,
          Throwable error,
          EventType type,
          @Nullable IPersistentMap event) {
        return handler.onError(connection, error, type, event);
      }

      @Override
      public @Nullable Object state() {
        return handler.state();
      }

      @Override
      public @Nullable Object stateBefore() {
        return handler.stateBefore();
      }

      @Override
      public void scopeEnded(EventType type) {
        handler.scopeEnded(type);
      }
    };
  }

  // ---- what is reported

  @Override
  public void negotiated(ConnectionInfo connection) {
    listener.negotiated(connection);
  }

  @Override
  public void verdict(
      ConnectionInfo connection,
      @Nullable EventType event,
      Action.@Nullable Reply reply,
      @Nullable MessageEndReason ended) {
    listener.verdict(connection, event, reply, ended);
  }

  @Override
  public void failed(
      ConnectionInfo connection, EventType type, @Nullable Event event, Throwable error) {
    listener.failed(connection, type, event, error);
  }

  @Override
  public void violated(ConnectionInfo connection, MilterException error) {
    failure = error;
    listener.violated(connection, error);
  }

  @Override
  public void closed(ConnectionInfo connection, @Nullable Throwable error) {
    failure = error == null ? failure : error;
    listener.closed(connection, error);
  }

  @Override
  public boolean wantsExchanges() {
    return true;
  }

  @Override
  public void exchanged(ConnectionInfo connection, Event event, List<Action> response, long nanos) {
    answers.addAll(Action.maps(response));
    if (listener.wantsExchanges()) {
      listener.exchanged(connection, event, response, nanos);
    }
  }
}
