package temse.message;

import clojure.lang.IPersistentMap;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.util.EnumMap;
import java.util.EnumSet;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Optional;
import java.util.Set;
import org.jspecify.annotations.Nullable;
import temse.protocol.Action;
import temse.protocol.ActionFlag;
import temse.protocol.Event;
import temse.protocol.EventType;
import temse.protocol.Fact;
import temse.protocol.MacroStage;
import temse.protocol.MilterException;
import temse.protocol.Request;
import temse.server.ConnectionInfo;
import temse.server.MilterConnection;
import temse.server.MilterFactory;
import temse.server.MilterHandler;
import temse.server.internal.EventCollector;

/**
 * A milter that receives each message as a whole. The MTA is asked to wait for one reply per
 * message.
 *
 * <pre>{@code
 * MessageFilter filter =
 *     MessageFilter.of(
 *             (message, connection) ->
 *                 List.of(Action.addHeader("X-Size", "" + message.body().size())))
 *         .requires(ActionFlag.ADD_HEADER)
 *         .build();
 * }</pre>
 *
 * <p>If something of a message could not be collected, the function is not called and the message
 * is deferred.
 */
public final class MessageFilter implements MilterFactory {
  /** Decides about a message. */
  @FunctionalInterface
  public interface Judge {
    /**
     * {@return the actions, modifications first and at most one reply last; null or empty to go on}
     *
     * @param message as it was received
     * @param connection the connection, for macros, progress, and {@link MilterConnection#await}
     * @throws Exception anything: the message is deferred
     */
    @Nullable List<? extends Action> judge(Message message, MilterConnection connection)
        throws Exception;
  }

  /** Handles an event beside the filter. */
  @FunctionalInterface
  public interface Handler {
    /**
     * {@return the actions that answer the event; null or empty for the default reply}
     *
     * @param event the event
     * @param connection the connection, for this event only
     * @throws Exception anything: the message is deferred
     */
    @Nullable List<? extends Action> handle(Event event, MilterConnection connection)
        throws Exception;
  }

  private static final Set<EventType> COLLECTED =
      EnumSet.of(
          EventType.CONNECT,
          EventType.HELLO,
          EventType.MAIL,
          EventType.RECIPIENT,
          EventType.HEADER,
          EventType.BODY);

  private final Judge judge;
  private final Set<EventType> at;
  private final Map<EventType, Handler> beside;
  private final Request request;
  private final MessageStore store;

  private MessageFilter(Builder builder) {
    this.judge = builder.judge;
    this.at = EnumSet.copyOf(builder.at);
    this.beside = new EnumMap<>(builder.beside);
    this.store = builder.store == null ? MessageStore.builder().build() : builder.store;
    EnumSet<EventType> events = EnumSet.copyOf(COLLECTED);
    if (!builder.wantsBody || !at.contains(EventType.END_OF_MESSAGE)) {
      events.remove(EventType.BODY);
    }
    EnumSet<EventType> silent = EnumSet.copyOf(events);
    silent.removeAll(beside.keySet());
    events.addAll(beside.keySet());
    events.addAll(at);
    this.request = builder.request.events(events).noReplyEvents(silent).build();
  }

  /**
   * {@return a builder of a filter that lets this function decide}
   *
   * @param judge called once for each message, or twice: {@link Builder#at}
   */
  public static Builder of(Judge judge) {
    return new Builder(judge);
  }

  @Override
  public Optional<Request> knownRequest() {
    return Optional.of(request);
  }

  @Override
  public MilterHandler open(ConnectionInfo connection) {
    return new Collecting();
  }

  private final class Collecting implements MilterHandler, EventCollector {
    private final Collector collector = store.collector();

    @Override
    public Request request(MilterConnection connection, IPersistentMap offer) {
      return request;
    }

    @Override
    public @Nullable List<IPersistentMap> onEvent(
        MilterConnection connection, EventType type, IPersistentMap event) throws Exception {
      if (at.contains(type)) {
        Action.Reply instead = collector.replyInstead();
        return instead == null
            ? Action.maps(judge.judge(collector.message(connection, type), connection))
            : List.of(instead.map());
      }
      if (COLLECTED.contains(type)) {
        collector.take(connection, type, event);
      }
      Handler handler = beside.get(type);
      return handler == null
          ? null
          : Action.maps(handler.handle(Event.view(type, event), connection));
    }

    @Override
    public boolean collects(EventType type) {
      return COLLECTED.contains(type) && !beside.containsKey(type);
    }

    @Override
    public void collect(ConnectionInfo connection, EventType type, IPersistentMap event)
        throws IOException {
      collector.take(connection, type, event);
    }

    @Override
    public void collectField(ConnectionInfo connection, String name, String value)
        throws IOException {
      collector.takeField(connection, name, value);
    }

    @Override
    public void scopeEnded(EventType type) {
      try {
        if (type == EventType.DISCONNECT) {
          collector.clientEnds();
        } else {
          collector.end();
        }
      } catch (IOException e) {
        throw new UncheckedIOException(e);
      }
    }
  }

  /** Collects what a filter needs. */
  public static final class Builder {
    private final Judge judge;
    private final Map<EventType, Handler> beside = new EnumMap<>(EventType.class);
    private final Request.Builder request =
        Request.builder().optionalEvents(List.of(EventType.DATA, EventType.UNKNOWN));
    private Set<EventType> at = EnumSet.of(EventType.END_OF_MESSAGE);
    private boolean wantsBody = true;
    private @Nullable MessageStore store;

    private Builder(Judge judge) {
      this.judge = Objects.requireNonNull(judge, "judge");
    }

    /**
     * Says when the function is called: END_OF_MESSAGE, which is the default, END_OF_HEADERS, or at
     * both.
     *
     * @param events one or both of the two
     * @return this builder
     * @throws MilterException BAD_OPTIONS for other events
     */
    public Builder at(EventType... events) {
      at = EnumSet.noneOf(EventType.class);
      at.addAll(List.of(events));
      if (at.isEmpty()
          || !EnumSet.of(EventType.END_OF_HEADERS, EventType.END_OF_MESSAGE).containsAll(at)) {
        throw bad("a message is judged at END_OF_HEADERS, END_OF_MESSAGE or both, not at " + at);
      }
      return this;
    }

    /**
     * Asks for no body: {@link Message#body} is empty.
     *
     * @return this builder
     */
    public Builder withoutBody() {
      wantsBody = false;
      return this;
    }

    /**
     * Handles an event beside the filter. A recipient that this handler refuses is not in the
     * message.
     *
     * @param type of the events
     * @param handler answers them
     * @return this builder
     * @throws MilterException BAD_OPTIONS if the event has a handler already, or takes none
     */
    public Builder beside(EventType type, Handler handler) {
      if (type == EventType.OPTIONS) {
        throw bad("the negotiation has no handler: say what is wanted with requires, wants …");
      }
      if (beside.putIfAbsent(type, Objects.requireNonNull(handler, "handler")) != null) {
        throw bad(type + " has a handler already: an event has one");
      }
      return this;
    }

    /**
     * Names actions without which the filter is of no use.
     *
     * @param flags needed of the MTA; one that does not offer them is refused
     * @return this builder
     */
    public Builder requires(ActionFlag... flags) {
      request.actions(flags);
      return this;
    }

    /**
     * Names actions that the filter uses where the MTA offers them.
     *
     * @param flags used if offered
     * @return this builder
     */
    public Builder wants(ActionFlag... flags) {
      request.optionalActions(List.of(flags));
      return this;
    }

    /**
     * Names facts that the filter wants to know: {@link MilterConnection#transaction}. The MTA is
     * asked for the events and macros that they need; the events need no handler.
     *
     * @param facts such as {@code Fact.CLIENT_NAME}
     * @return this builder
     */
    public Builder wants(Fact... facts) {
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
    public Builder macros(MacroStage stage, String... names) {
      request.macros(stage, List.of(names));
      return this;
    }

    /**
     * Asks for header fields with their exact bytes behind the colon.
     *
     * @return this builder
     */
    public Builder leadingSpace() {
      request.leadingSpace(true);
      return this;
    }

    /**
     * Says what messages may take, and where; default: a store with the default limits.
     *
     * @param limits shared by all connections
     * @return this builder
     */
    public Builder store(MessageStore limits) {
      store = limits;
      return this;
    }

    /**
     * {@return the filter}
     *
     * @throws MilterException BAD_OPTIONS if a handler stands beside it at an event that it answers
     *     itself
     */
    public MessageFilter build() {
      for (EventType event : at) {
        if (beside.containsKey(event)) {
          throw bad(
              event
                  + " is answered by the message filter itself: let its function do it, without a"
                  + " handler beside it");
        }
      }
      return new MessageFilter(this);
    }

    private static MilterException bad(String problem) {
      return new MilterException(MilterException.Category.BAD_OPTIONS, problem);
    }
  }
}
