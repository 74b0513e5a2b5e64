package temse.server.internal;

import clojure.lang.IPersistentMap;
import java.util.List;
import java.util.concurrent.CompletionStage;
import java.util.function.Function;
import temse.protocol.Action;
import temse.protocol.ActionCodec;
import temse.protocol.ActionType;
import temse.protocol.Agreement;
import temse.protocol.EventType;
import temse.protocol.Keys;
import temse.protocol.MacroTable;
import temse.protocol.MilterException;
import temse.protocol.Transaction;
import temse.server.MilterConnection;
import temse.transport.internal.Nanos;

/**
 * One event and its answer: what its handler sees of the connection, the actions collected for it,
 * the value that it waits for, and its one reply.
 *
 * <p>It lives as long as its event. When the event is settled it is dead: whoever still holds it
 * gets STALE_CONTEXT, from any thread, whatever the connection is doing by then. Any thread may
 * call what is declared in {@link MilterConnection}; the rest is for the thread that serves the
 * connection.
 */
final class EventCall implements MilterConnection, Served {
  private final ConnectionState state;
  private final EventType type;
  private final boolean answerable;
  private final boolean progressAllowed;
  private final boolean mayWait;

  /** The thread that runs the handler, or null while it does not run. */
  private volatile Thread runner;

  /** When the MTA wants progress of a handler that still runs. */
  private volatile long progressAt;

  private volatile Transaction transaction;
  private Action.Reply settledBy;

  // Guarded by this.
  private boolean over;
  private Response response = Response.NONE;

  /** Progress will be sent in the connection's turn: more is of no use before. */
  private boolean progressAsked;

  // Written by the serving thread while this is locked.
  private PendingValue<?> pending;
  private Outcome outcome;

  /** What a pending value has come to. */
  interface Outcome {
    List<IPersistentMap> actions() throws Throwable;
  }

  /**
   * Makes the call of an event that has begun.
   *
   * @param answerable whether its handler may answer
   * @param progressAllowed whether progress may be sent meanwhile
   * @param mayWait whether its handler may leave it open
   */
  EventCall(
      ConnectionState state,
      EventType type,
      boolean answerable,
      boolean progressAllowed,
      boolean mayWait) {
    this.state = state;
    this.type = type;
    this.answerable = answerable;
    this.progressAllowed = progressAllowed;
    this.mayWait = mayWait;
    this.transaction = state.transaction;
    this.progressAt =
        progressAllowed
            ? Nanos.after(state.clock(), state.options.progressInterval())
            : Long.MAX_VALUE;
  }

  // ---- what the handler sees

  @Override
  public long id() {
    return state.id();
  }

  @Override
  public String peer() {
    return state.peer();
  }

  @Override
  public Counts counts() {
    return state.counters;
  }

  @Override
  public boolean isEnding() {
    return state.isEnding();
  }

  @Override
  public Agreement agreement() {
    return state.agreement();
  }

  @Override
  public synchronized MacroTable macros() {
    live();
    return state.macros();
  }

  @Override
  public void send(IPersistentMap action) {
    try {
      checkLive();
      if (action.valAt(Keys.ACTION) == ActionType.PROGRESS.keyword) {
        progress();
        return;
      }
      if (answerable) {
        ActionCodec.check(action, state.agreement().maximumPayload());
      }
      IPersistentMap own = ForeignActions.own(action);
      synchronized (this) {
        live();
        add(own);
      }
    } catch (MilterException e) {
      ForeignActions.discard(action);
      throw state.worded(e);
    } catch (Throwable e) {
      ForeignActions.discard(action);
      throw e;
    }
  }

  private synchronized void checkLive() {
    live();
  }

  @Override
  public synchronized void progress() {
    live();
    if (!progressAllowed) {
      return;
    }
    if (Thread.currentThread() == runner) {
      state.writeProgress();
    } else if (runner != null) {
      state.writeProgressNow();
    } else if (!progressAsked) {
      progressAsked = true;
      state.link.later(this::progressIfPending);
    }
  }

  @Override
  public <T> void awaitMaps(
      CompletionStage<T> stage,
      Function<? super T, List<IPersistentMap>> response,
      Runnable givenUp) {
    PendingValue<T> value;
    synchronized (this) {
      live();
      if (Thread.currentThread() != runner || !mayWait) {
        throw new MilterException(
            MilterException.Category.STALE_CONTEXT,
            "only a handler of an event that runs can leave it open");
      }
      if (pending != null) {
        throw state.worded(
            new MilterException(
                MilterException.Category.BAD_HANDLER_RETURN,
                "the event " + type.keyword + " waits for a value already"));
      }
      value =
          new PendingValue<>(
              response,
              givenUp,
              state.clock(),
              state.options.handlerTimeout(type),
              state.options.progressInterval());
      pending = value;
      state.counters.waits();
    }
    stage.whenComplete(
        (result, error) ->
            state.link.later(
                () ->
                    arrived(
                        value,
                        () -> {
                          if (error != null) {
                            throw PendingValue.unwrapped(error);
                          }
                          return value.response(result);
                        })));
  }

  @Override
  public synchronized void close() {
    live();
    state.close();
  }

  @Override
  public Action.Reply settledBy() {
    return settledBy;
  }

  @Override
  public Transaction transaction() {
    return transaction;
  }

  /** Two calls are equal if they belong to the same connection, and equal to what stands for it. */
  @Override
  public boolean equals(Object other) {
    return other == state || other instanceof EventCall call && call.state == state;
  }

  boolean isOf(ConnectionState connection) {
    return state == connection;
  }

  @Override
  public int hashCode() {
    return state.hashCode();
  }

  @Override
  public String toString() {
    return "connection " + id() + " of " + peer();
  }

  private void live() {
    if (over) {
      throw state.worded(
          new MilterException(
              MilterException.Category.STALE_CONTEXT,
              "the event " + type.keyword + " is settled: nothing can be done for it any more",
              Keys.EVENT,
              type.keyword));
    }
  }

  // ---- what the engine does with it

  /** The event has brought something that the handler wants to know. */
  void knows(Transaction now) {
    transaction = now;
  }

  /** A handler begins to run on the calling thread. */
  void running() {
    runner = Thread.currentThread();
  }

  /** The handler has returned, or thrown. */
  void returned() {
    if (runner != null) {
      runner = null;
    }
  }

  /**
   * Adds what the handler has returned, behind what it has sent.
   *
   * @throws MilterException for the first action that cannot answer the event
   */
  void add(List<IPersistentMap> actions) {
    for (IPersistentMap action : actions) {
      if (action.valAt(Keys.ACTION) == ActionType.PROGRESS.keyword) {
        progress();
      } else {
        IPersistentMap own = ForeignActions.own(action);
        synchronized (this) {
          add(own);
        }
      }
    }
  }

  private void add(IPersistentMap action) {
    if (response == Response.NONE) {
      response = new Response(type, answerable, state.agreement());
    }
    response.add(action);
  }

  /** Ends the life of this call; returns what it waited for and waits for no more, or null. */
  synchronized PendingValue<?> end() {
    PendingValue<?> waiting = pending;
    over = true;
    runner = null;
    waitNoMore();
    outcome = null;
    return waiting;
  }

  /** The event is settled by a reply. */
  void settled(Action.Reply reply) {
    settledBy = reply;
  }

  /** Forgets what was collected, once the response has been made of it: nothing more comes. */
  void forget() {
    if (response != Response.NONE) {
      response = Response.NONE;
    }
  }

  /** {@return what was collected} */
  Response response() {
    return response;
  }

  // ---- the value that it waits for

  boolean isPending() {
    return pending != null;
  }

  PendingValue<?> pending() {
    return pending;
  }

  /** The value has come, unless it is one that nobody waits for any more. */
  synchronized void arrived(PendingValue<?> value, Outcome how) {
    if (pending == value) {
      waitNoMore();
      outcome = how;
    }
  }

  private void waitNoMore() {
    if (pending != null) {
      pending = null;
      state.counters.waitsNoMore();
    }
  }

  /** {@return what the value has come to, once} */
  Outcome takeOutcome() {
    Outcome taken = outcome;
    outcome = null;
    return taken;
  }

  private synchronized void progressIfPending() {
    progressAsked = false;
    if (pending != null) {
      state.writeProgress();
    }
  }

  // ---- a handler that holds the connection

  /** {@return when {@link #held} is due, or {@link Long#MAX_VALUE}. Any thread} */
  long heldDeadline() {
    return progressAllowed && runner != null ? progressAt : Long.MAX_VALUE;
  }

  /** Sends progress while the handler runs on another thread. */
  synchronized void held(long now) {
    if (!over && runner != null && progressAllowed && now - progressAt >= 0) {
      progressAt = Nanos.after(now, state.options.progressInterval());
      state.writeProgressNow();
    }
  }
}
