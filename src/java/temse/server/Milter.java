package temse.server;

import clojure.lang.IPersistentMap;
import java.util.EnumMap;
import java.util.EnumSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.function.BiFunction;
import java.util.function.Supplier;
import temse.protocol.ActionFlag;
import temse.protocol.Actions;
import temse.protocol.Event;
import temse.protocol.EventType;
import temse.protocol.MacroStage;
import temse.protocol.MilterException;
import temse.protocol.Request;

/**
 * A milter written in Java: state in, step out. A handler gets an event and the state of the SMTP
 * client and returns a {@link Step}, so that it can be tested by calling it.
 *
 * <pre>{@code
 * Milter<Integer> milter = Milter.startingWith(() -> 0)
 *     .requires(ActionFlag.ADD_HEADER)
 *     .on(EventType.HEADER, (event, count) -> Step.next(count + 1))
 *     .on(EventType.END_OF_MESSAGE, (event, count) ->
 *         Step.next(count).respond(Actions.addHeader("X-Header-Count", "" + count)))
 *     .on(EventType.MESSAGE_END, (event, count) -> Step.next(0))
 *     .build();
 * }</pre>
 *
 * @param <S> the state that is kept for an SMTP client; it lives as long as the client is there,
 *     over several messages
 */
public final class Milter<S> implements MilterFactory {
  /** Handles an event. */
  @FunctionalInterface
  public interface Handler<S> {
    /** Returns the next state and the response. What it throws is answered by the error policy. */
    Step<S> handle(Event event, S state) throws Exception;
  }

  /** Handles an event and asks the connection for macros and more. */
  @FunctionalInterface
  public interface ConnectionHandler<S> {
    /** Returns the next state and the response. What it throws is answered by the error policy. */
    Step<S> handle(Event event, S state, Connection connection) throws Exception;
  }

  private final Supplier<S> initial;
  private final Map<EventType, ConnectionHandler<S>> handlers;
  private final Request request;
  private final BiFunction<Throwable, Event, List<IPersistentMap>> onError;

  private Milter(Builder<S> builder) {
    this.initial = builder.initial;
    this.handlers = new EnumMap<>(builder.handlers);
    this.request = builder.request.events(handlers.keySet()).noReplyEvents(builder.watched).build();
    this.onError = builder.onError;
  }

  /** Returns a builder of a milter whose state for each SMTP client begins so. */
  public static <S> Builder<S> startingWith(Supplier<S> initial) {
    return new Builder<>(initial);
  }

  @Override
  public MilterHandler open(ConnectionInfo connection) {
    return new Client();
  }

  private final class Client implements MilterHandler {
    private S state;
    private boolean started;

    @Override
    public Request request(Connection connection, IPersistentMap offer) {
      return request;
    }

    @Override
    public List<IPersistentMap> onEvent(Connection connection, EventType type, IPersistentMap event)
        throws Exception {
      if (!started) {
        state = initial.get();
        started = true;
      }
      return take(handlers.get(type).handle(Event.of(type, event), state, connection), connection);
    }

    private List<IPersistentMap> take(Step<S> step, Connection connection) {
      if (step == null) {
        throw new MilterException(
            MilterException.Category.BAD_HANDLER_RETURN,
            "the handler returned null; return a Step, Step.next(state) at least");
      }
      if (step.later() != null) {
        connection.await(step.later(), yielded -> take(yielded, connection));
        return null;
      }
      state = step.state();
      return step.actions();
    }

    @Override
    public List<IPersistentMap> onError(
        Connection connection, Throwable error, EventType type, IPersistentMap event) {
      return onError.apply(error, Event.of(type, event));
    }

    @Override
    public void scopeEnded(EventType type) {
      if (type == EventType.DISCONNECT) {
        started = false;
      }
    }
  }

  /** Collects handlers and what is wanted of the MTA. */
  public static final class Builder<S> {
    private final Supplier<S> initial;
    private final Map<EventType, ConnectionHandler<S>> handlers = new EnumMap<>(EventType.class);
    private final Set<EventType> watched = EnumSet.noneOf(EventType.class);
    private final Request.Builder request =
        Request.builder().optionalEvents(List.of(EventType.DATA, EventType.UNKNOWN));
    private boolean wantsRejected;
    private BiFunction<Throwable, Event, List<IPersistentMap>> onError =
        (error, event) -> List.of(Actions.temporaryFailure());

    private Builder(Supplier<S> initial) {
      this.initial = given(initial, "initial state");
    }

    /**
     * Handles an event.
     *
     * @throws MilterException BAD_OPTIONS if the event has a handler already, or takes none
     */
    public Builder<S> on(EventType type, Handler<S> handler) {
      given(handler, "handler");
      return on(type, (event, state, connection) -> handler.handle(event, state));
    }

    /**
     * Handles an event, with the connection at hand.
     *
     * @throws MilterException BAD_OPTIONS if the event has a handler already, or takes none
     */
    public Builder<S> on(EventType type, ConnectionHandler<S> handler) {
      given(handler, "handler");
      if (given(type, "event") == EventType.OPTIONS) {
        throw bad("the negotiation has no handler: say what is wanted with requires, wants …");
      }
      if (handlers.putIfAbsent(type, handler) != null) {
        throw bad(type.keyword + " has a handler already: an event has one");
      }
      return this;
    }

    /**
     * Watches an event: the handler never answers, and the MTA does not wait for it. If it fails,
     * or answers all the same, the message is deferred at the next event that can be answered.
     *
     * @throws MilterException BAD_OPTIONS if the event has a handler already, or cannot be watched:
     *     the MTA always waits for an answer to END_OF_MESSAGE
     */
    public Builder<S> watch(EventType type, Handler<S> handler) {
      if (type == EventType.END_OF_MESSAGE) {
        throw bad(type.keyword + " cannot be watched, the MTA waits for its answer: use on");
      }
      on(type, handler);
      watched.add(type);
      return this;
    }

    /** Names actions without which the milter is of no use. */
    public Builder<S> requires(ActionFlag... flags) {
      request.actions(flags);
      return this;
    }

    /** Names actions that the milter uses where the MTA offers them. */
    public Builder<S> wants(ActionFlag... flags) {
      request.optionalActions(List.of(flags));
      return this;
    }

    /** Asks for macros at a stage ({@code smfi_setsymlist}). */
    public Builder<S> macros(MacroStage stage, String... names) {
      request.macros(stage, List.of(names));
      return this;
    }

    /** Also asks for recipients that the MTA has rejected. */
    public Builder<S> rejectedRecipients() {
      wantsRejected = true;
      request.rejectedRecipients(true);
      return this;
    }

    /** Asks for header values with their leading space, and gives them so. */
    public Builder<S> leadingSpace() {
      request.leadingSpace(true);
      return this;
    }

    /** Says what answers an event whose handler has failed; default: a temporary failure. */
    public Builder<S> onError(BiFunction<Throwable, Event, List<IPersistentMap>> policy) {
      onError = given(policy, "error policy");
      return this;
    }

    /**
     * Returns the milter.
     *
     * @throws MilterException BAD_OPTIONS if it could not work: it handles no event, or asks for
     *     rejected recipients and handles none
     */
    public Milter<S> build() {
      if (handlers.isEmpty()) {
        throw bad("the milter handles no event: give it a handler with on or watch");
      }
      if (wantsRejected && !handlers.containsKey(EventType.RECIPIENT)) {
        throw bad("rejected recipients are asked for, but no handler of RECIPIENT is there");
      }
      return new Milter<>(this);
    }

    private static <T> T given(T value, String what) {
      if (value == null) {
        throw bad("the " + what + " is null");
      }
      return value;
    }

    private static MilterException bad(String problem) {
      return new MilterException(MilterException.Category.BAD_OPTIONS, problem);
    }
  }
}
