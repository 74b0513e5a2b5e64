package temse.server;

import clojure.lang.IPersistentMap;
import java.util.List;
import java.util.concurrent.CompletionStage;
import java.util.function.Function;
import org.jspecify.annotations.Nullable;
import temse.protocol.Action;
import temse.protocol.MilterException;
import temse.protocol.Transaction;

/**
 * One MTA connection as the handler of one event sees it: what holds now, and what may be done for
 * that event.
 *
 * <p>Handlers of one connection run one at a time, in order. The methods below belong to the
 * handler that is running, or to the work that its pending value waits for, on any thread. When the
 * event is settled the connection is dead for whoever still has it: {@link #macros} and all methods
 * that do something throw STALE_CONTEXT, whatever the connection is doing by then. The objects that
 * the handlers of one MTA connection receive are equal, so that they can be keys of what belongs to
 * it.
 */
public interface MilterConnection extends ConnectionInfo {
  /**
   * Adds an action to the response to the event. Everything that answers one event leaves together
   * when the handler is done.
   *
   * @param action a modification, or the one reply after all modifications
   * @throws MilterException if the action is not legal here, was not agreed or is too large;
   *     STALE_CONTEXT if the event is settled
   */
  default void send(Action action) {
    send(action.map());
  }

  /**
   * Adds an action map as above; {@code :progress} leaves at once.
   *
   * @param action a map as in {@code doc/spec.org}
   * @throws MilterException as above, and if the map is no action that can travel
   */
  void send(IPersistentMap action);

  /**
   * Reports to the MTA that work goes on ({@code smfi_progress}); does nothing where that may not
   * be sent.
   */
  void progress();

  /**
   * Leaves the event open until the stage completes; no thread is held meanwhile. The handler then
   * returns null, or no actions.
   *
   * <p>The stage is never cancelled, since others may wait for it, too. What was begun for this
   * event alone can be stopped by {@code givenUp}.
   *
   * @param <T> the type of the value
   * @param stage what is waited for; failing, it is a failure of the handler
   * @param response turns its value into the actions that answer the event; called in the
   *     connection's turn
   * @param givenUp called once if nobody waits for the value any more: it did not come in time, or
   *     the MTA has gone
   * @throws MilterException STALE_CONTEXT unless the handler of the event runs on the calling
   *     thread; BAD_HANDLER_RETURN if it waits for a value already
   */
  default <T> void await(
      CompletionStage<T> stage,
      Function<? super T, ? extends List<? extends Action>> response,
      Runnable givenUp) {
    awaitMaps(stage, value -> Action.maps(response.apply(value)), givenUp);
  }

  /**
   * Leaves the event open as above; nobody is called if the value is given up.
   *
   * @param <T> the type of the value
   * @param stage what is waited for; failing, it is a failure of the handler
   * @param response turns its value into the response; called in the connection's turn
   */
  default <T> void await(
      CompletionStage<T> stage, Function<? super T, ? extends List<? extends Action>> response) {
    await(stage, response, () -> {});
  }

  /**
   * Leaves the event open as above; the value becomes action maps.
   *
   * @param <T> the type of the value
   * @param stage what is waited for; failing, it is a failure of the handler
   * @param response turns its value into the response; called in the connection's turn
   * @param givenUp called once if nobody waits for the value any more
   */
  <T> void awaitMaps(
      CompletionStage<T> stage,
      Function<? super T, List<IPersistentMap>> response,
      Runnable givenUp);

  /**
   * {@return the reply by which the event was settled, whoever has given it, or null: it is not
   * settled yet, or owes none} For handlers of later events, although the connection is dead then.
   */
  default Action.@Nullable Reply settledBy() {
    return null;
  }

  /**
   * {@return what is known of the SMTP client and its mail at this event, as far as the milter has
   * asked for it: {@link Milter.Builder#wants(temse.protocol.Fact...)}}
   */
  default Transaction transaction() {
    return Transaction.NONE;
  }

  /** Closes the connection after the response to the event. */
  void close();
}
