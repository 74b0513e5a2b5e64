package temse.server;

import clojure.lang.IPersistentMap;
import java.util.List;
import java.util.concurrent.CompletionStage;
import java.util.function.Function;
import org.jspecify.annotations.Nullable;

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
public interface Connection extends ConnectionInfo {
  /**
   * Adds an action to the response to the event. Everything that answers one event leaves together
   * when the handler is done; {@code :progress} leaves at once.
   *
   * @throws temse.protocol.MilterException if the action is not legal here, was not agreed or
   *     cannot travel; STALE_CONTEXT if the event is settled
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
   * @param stage what is waited for; failing, it is a failure of the handler
   * @param response turns its value into the actions that answer the event; called in the
   *     connection's turn
   * @param givenUp called once if nobody waits for the value any more: it did not come in time, or
   *     the MTA has gone
   * @throws temse.protocol.MilterException STALE_CONTEXT unless the handler of the event runs on
   *     the calling thread; BAD_HANDLER_RETURN if it waits for a value already
   */
  <T> void await(
      CompletionStage<T> stage,
      Function<? super T, List<IPersistentMap>> response,
      Runnable givenUp);

  /** Leaves the event open as above; nobody is called if the value is given up. */
  default <T> void await(
      CompletionStage<T> stage, Function<? super T, List<IPersistentMap>> response) {
    await(stage, response, () -> {});
  }

  /**
   * Returns the reply by which the event was settled, whoever has given it, or null: it is not
   * settled yet, or owes none. For handlers of later events, although the connection is dead then.
   */
  default @Nullable IPersistentMap settledBy() {
    return null;
  }

  /** Closes the connection after the response to the event. */
  void close();
}
