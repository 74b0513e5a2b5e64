package temse.server;

import clojure.lang.IPersistentMap;
import java.util.EnumMap;
import java.util.EnumSet;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Optional;
import java.util.Set;
import java.util.function.BiFunction;
import java.util.function.Function;
import java.util.function.Supplier;
import java.util.function.UnaryOperator;
import org.jspecify.annotations.Nullable;
import temse.protocol.Action;
import temse.protocol.ActionFlag;
import temse.protocol.Event;
import temse.protocol.EventType;
import temse.protocol.Fact;
import temse.protocol.MacroStage;
import temse.protocol.MilterException;
import temse.protocol.Request;

/**
 * A milter written in Java: state in, step out. A handler gets an event and a state and returns a
 * {@link Step}, so that it can be tested by calling it.
 *
 * <pre>{@code
 * Milter<Integer> milter = Milter.perMessage(() -> 0)
 *     .requires(ActionFlag.ADD_HEADER)
 *     .watch(Event.Header.class, (header, count) -> Step.next(count + 1))
 *     .on(Event.EndOfMessage.class, (end, count) ->
 *         Step.next(count).respond(Action.addHeader("X-Header-Count", "" + count)))
 *     .build();
 * }</pre>
 *
 * <p>A milter serves any number of MTA connections at once. The handlers of one connection run one
 * at a time, in the order of its events; those of several run at the same time, so what they share
 * must be safe for use by several threads. The states themselves need no care: each belongs to one
 * client.
 *
 * @param <S> the state that is kept
 */
public final class Milter<S extends @Nullable Object> implements MilterFactory {
  /**
   * Handles an event.
   *
   * @param <E> the class of the event
   * @param <S> the state that is kept
   */
  @FunctionalInterface
  public interface Handler<E extends Event, S extends @Nullable Object> {
    /**
     * {@return the next state and the response}
     *
     * @param event the event
     * @param state the state that the handler of the event before has returned
     * @throws Exception anything: the event is answered by the error policy
     */
    Step<? extends S> handle(E event, S state) throws Exception;
  }

  /**
   * Handles an event and asks the connection for macros and more.
   *
   * @param <E> the class of the event
   * @param <S> the state that is kept
   */
  @FunctionalInterface
  public interface ConnectionHandler<E extends Event, S extends @Nullable Object> {
    /**
     * {@return the next state and the response}
     *
     * @param event the event
     * @param state the state that the handler of the event before has returned
     * @param connection the connection, for this event only
     * @throws Exception anything: the event is answered by the error policy
     */
    Step<? extends S> handle(E event, S state, MilterConnection connection) throws Exception;
  }

  private final Scope<S> scope;
  private final Map<EventType, ConnectionHandler<Event, S>> handlers;
  private final Request request;
  private final BiFunction<Throwable, Event, List<? extends Action>> onError;

  /**
   * Where states come from: that of a new client, and what a message's begin and end make of it.
   */
  private record Scope<S extends @Nullable Object>(
      boolean ofMessages,
      Supplier<? extends S> client,
      UnaryOperator<S> begun,
      UnaryOperator<S> ended) {}

  private Milter(Builder<S> builder) {
    this.scope = builder.scope;
    this.handlers = new EnumMap<>(builder.handlers);
    if (scope.ofMessages) {
      handlers.putIfAbsent(EventType.MESSAGE_END, (event, state, connection) -> Step.next(state));
    }
    this.request = builder.request.events(handlers.keySet()).noReplyEvents(builder.watched).build();
    this.onError = builder.onError;
  }

  /**
   * {@return a builder of a milter whose state begins anew with each message} Handlers of events
   * outside of messages get a state of their own, which no message receives.
   *
   * @param <S> the state that is kept
   * @param initial makes the state to begin with
   */
  public static <S extends @Nullable Object> Builder<S> perMessage(Supplier<? extends S> initial) {
    Builder.given(initial, "initial state");
    return new Builder<>(new Scope<>(true, initial, s -> initial.get(), s -> initial.get()));
  }

  /**
   * {@return a builder of a milter whose state begins anew with each SMTP client, and lives over
   * all its messages}
   *
   * @param <S> the state that is kept
   * @param initial makes the state to begin with
   */
  public static <S extends @Nullable Object> Builder<S> perClient(Supplier<? extends S> initial) {
    Builder.given(initial, "initial state");
    return new Builder<>(new Scope<>(false, initial, s -> s, s -> s));
  }

  /**
   * {@return a builder of a milter that keeps two states}
   *
   * @param <C> the state of an SMTP client
   * @param <M> the state of a message
   * @param client makes the state of an SMTP client
   * @param message makes the state of a message from that of its client, as the message begins
   */
  public static <C, M> Builder<ClientAndMessage<C, M>> perClientAndMessage(
      Supplier<? extends C> client, Function<? super C, ? extends M> message) {
    Builder.given(client, "initial state of a client");
    Builder.given(message, "initial state of a message");
    return new Builder<>(
        new Scope<>(
            true,
            () -> new ClientAndMessage<>(client.get(), null),
            both -> both.withMessage(message.apply(both.client())),
            both -> both.withMessage(null)));
  }

  @Override
  public Optional<Request> knownRequest() {
    return Optional.of(request);
  }

  @Override
  public MilterHandler open(ConnectionInfo connection) {
    return new Client();
  }

  private final class Client implements MilterHandler {
    private S state;
    private S before;
    private boolean started;
    private boolean inMessage;

    @Override
    public Request request(MilterConnection connection, IPersistentMap offer) {
      return request;
    }

    @Override
    public List<IPersistentMap> onEvent(
        MilterConnection connection, EventType type, IPersistentMap event) throws Exception {
      if (!started) {
        state = scope.client.get();
        started = true;
      }
      if (!inMessage && belongsToMessage(type)) {
        state = scope.begun.apply(state);
        inMessage = true;
      }
      before = state;
      ConnectionHandler<Event, S> handler = handlers.get(type);
      return handler == null
          ? null
          : take(handler.handle(Event.view(type, event), state, connection), connection);
    }

    private static boolean belongsToMessage(EventType type) {
      return type.inMessage() || type == EventType.ABORT || type == EventType.MESSAGE_END;
    }

    private List<IPersistentMap> take(Step<? extends S> step, MilterConnection connection) {
      if (step == null) {
        throw new MilterException(
            MilterException.Category.BAD_HANDLER_RETURN,
            "the handler returned null; return a Step, Step.next(state) at least");
      }
      if (step.later() != null) {
        connection.awaitMaps(step.later(), yielded -> take(yielded, connection), () -> {});
        return null;
      }
      state = step.state();
      return Action.maps(step.actions());
    }

    @Override
    public List<IPersistentMap> onError(
        MilterConnection connection, Throwable error, EventType type, IPersistentMap event) {
      return Action.maps(
          Objects.requireNonNull(
              onError.apply(error, Event.view(type, event)), "the error policy returned null"));
    }

    @Override
    public @Nullable Object state() {
      return state;
    }

    @Override
    public @Nullable Object stateBefore() {
      return before;
    }

    @Override
    public void scopeEnded(EventType type) {
      before = null;
      if (type == EventType.DISCONNECT) {
        state = null;
        started = false;
      } else if (inMessage) {
        inMessage = false;
        state = scope.ended.apply(state);
      }
    }
  }

  /**
   * Collects handlers and what is wanted of the MTA. Not thread-safe.
   *
   * @param <S> the state that is kept
   */
  public static final class Builder<S extends @Nullable Object> {
    private final Scope<S> scope;
    private final Map<EventType, ConnectionHandler<Event, S>> handlers =
        new EnumMap<>(EventType.class);
    private final Set<EventType> watched = EnumSet.noneOf(EventType.class);
    private final Request.Builder request =
        Request.builder().optionalEvents(List.of(EventType.DATA, EventType.UNKNOWN));
    private boolean wantsRejected;
    private BiFunction<Throwable, Event, List<? extends Action>> onError =
        (error, event) -> List.of(Action.temporaryFailure());

    private Builder(Scope<S> scope) {
      this.scope = scope;
    }

    /**
     * Handles the events of a class.
     *
     * @param <E> the class of the events
     * @param events the class of the events, such as {@code Event.Header.class}
     * @param handler returns the next state and the response
     * @return this builder
     * @throws MilterException BAD_OPTIONS if they have a handler already, or take none
     */
    public <E extends Event> Builder<S> on(Class<E> events, Handler<? super E, S> handler) {
      given(handler, "handler");
      return on(events, (event, state, connection) -> handler.handle(event, state));
    }

    /**
     * Handles the events of a class, with the connection at hand.
     *
     * @param <E> the class of the events
     * @param events the class of the events, such as {@code Event.Header.class}
     * @param handler returns the next state and the response
     * @return this builder
     * @throws MilterException BAD_OPTIONS if they have a handler already, or take none
     */
    public <E extends Event> Builder<S> on(
        Class<E> events, ConnectionHandler<? super E, S> handler) {
      given(handler, "handler");
      EventType type = type(events);
      if (type == EventType.OPTIONS) {
        throw bad("the negotiation has no handler: say what is wanted with requires, wants …");
      }
      ConnectionHandler<Event, S> typed =
          (event, state, connection) -> handler.handle(events.cast(event), state, connection);
      if (handlers.putIfAbsent(type, typed) != null) {
        throw bad(events.getSimpleName() + " has a handler already: an event has one");
      }
      return this;
    }

    /**
     * Watches the events of a class: the handler never answers, and the MTA does not wait for it.
     * If it fails, or answers all the same, the message is deferred at the next event that can be
     * answered.
     *
     * @param <E> the class of the events
     * @param events the class of the events, such as {@code Event.Header.class}
     * @param handler returns the next state, and no response
     * @return this builder
     * @throws MilterException BAD_OPTIONS if they have a handler already, or cannot be watched: the
     *     MTA always waits for an answer to the end of a message
     */
    public <E extends Event> Builder<S> watch(Class<E> events, Handler<? super E, S> handler) {
      EventType type = type(events);
      if (type == EventType.END_OF_MESSAGE) {
        throw bad("EndOfMessage cannot be watched, the MTA waits for its answer: use on");
      }
      on(events, handler);
      watched.add(type);
      return this;
    }

    private static EventType type(Class<? extends Event> events) {
      if (given(events, "class of events") == Event.class) {
        throw bad("name one class of events, Event.Header.class for example");
      }
      return Event.type(events);
    }

    /**
     * Names actions without which the milter is of no use.
     *
     * @param flags needed of the MTA; one that does not offer them is refused
     * @return this builder
     */
    public Builder<S> requires(ActionFlag... flags) {
      request.actions(flags);
      return this;
    }

    /**
     * Names actions that the milter uses where the MTA offers them.
     *
     * @param flags used if offered
     * @return this builder
     */
    public Builder<S> wants(ActionFlag... flags) {
      request.optionalActions(List.of(flags));
      return this;
    }

    /**
     * Names facts that the milter wants to know: {@link MilterConnection#transaction}. The MTA is
     * asked for the events and macros that they need; the events need no handler.
     *
     * @param facts such as {@code Fact.CLIENT_NAME}
     * @return this builder
     */
    public Builder<S> wants(Fact... facts) {
      request.facts(List.of(facts));
      return this;
    }

    /**
     * Asks for macros at a stage ({@code smfi_setsymlist}).
     *
     * @param stage the event to which the macros belong
     * @param names such as {@code j} or {@code {auth_authen}}; they replace the MTA's own list for
     *     the stage
     * @return this builder
     */
    public Builder<S> macros(MacroStage stage, String... names) {
      request.macros(stage, List.of(names));
      return this;
    }

    /**
     * Also asks for recipients that the MTA has rejected.
     *
     * @return this builder
     */
    public Builder<S> rejectedRecipients() {
      wantsRejected = true;
      request.rejectedRecipients(true);
      return this;
    }

    /**
     * Asks for header values with their leading space, and gives them so.
     *
     * @return this builder
     */
    public Builder<S> leadingSpace() {
      request.leadingSpace(true);
      return this;
    }

    /**
     * Says what answers an event whose handler has failed; default: a temporary failure.
     *
     * @param policy given the failure and the event, returns the response
     * @return this builder
     */
    public Builder<S> onError(BiFunction<Throwable, Event, List<? extends Action>> policy) {
      onError = given(policy, "error policy");
      return this;
    }

    /**
     * {@return the milter}
     *
     * @throws MilterException BAD_OPTIONS if it could not work: it handles no event, or asks for
     *     rejected recipients and handles none
     */
    public Milter<S> build() {
      if (handlers.isEmpty()) {
        throw bad("the milter handles no event: give it a handler with on or watch");
      }
      if (wantsRejected && !handlers.containsKey(EventType.RECIPIENT)) {
        throw bad("rejected recipients are asked for, but no handler of Recipient is there");
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
