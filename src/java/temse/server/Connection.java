package temse.server;

import clojure.lang.IPersistentMap;
import java.util.List;
import java.util.concurrent.CompletionStage;
import java.util.function.Function;

/**
 * One MTA connection, as its handler sees it: what holds now, and what may be done for the event at
 * hand.
 *
 * <p>Handlers of one connection run one at a time, in order; the methods below belong to the
 * handler that is running, or to the work that its pending value waits for.
 */
public interface Connection extends ConnectionInfo {
  /**
   * Adds an action to the response to the current event. Everything that answers one event leaves
   * together when the handler is done; {@code :progress} leaves at once.
   *
   * @throws temse.protocol.MilterException if the action is not legal here, was not agreed or
   *     cannot travel; STALE_CONTEXT if no event is at hand
   */
  void send(IPersistentMap action);

  /** Tells the MTA that work goes on ({@code smfi_progress}); does nothing where it may not. */
  void progress();

  /**
   * Leaves the current event open until the stage completes; no thread is held meanwhile. The
   * handler then returns null.
   *
   * @param stage what is waited for; failing, it is a failure of the handler
   * @param response turns its value into the actions that answer the event; called in the
   *     connection's turn
   */
  <T> void await(CompletionStage<T> stage, Function<? super T, List<IPersistentMap>> response);

  /** Closes the connection after the response to the current event. */
  void close();
}
