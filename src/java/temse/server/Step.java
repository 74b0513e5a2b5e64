package temse.server;

import clojure.lang.IPersistentMap;
import java.util.List;
import java.util.concurrent.CompletionStage;

/**
 * What a handler of a {@link Milter} makes of an event: the next state and the response.
 *
 * <pre>{@code
 * Step.next(state).respond(Actions.addHeader("X-Seen", "yes"), Actions.accept())
 * }</pre>
 *
 * @param <S> the state that a milter keeps for an SMTP client
 */
public final class Step<S> {
  private final S state;
  private final List<IPersistentMap> actions;
  private final CompletionStage<Step<S>> later;

  private Step(S state, List<IPersistentMap> actions, CompletionStage<Step<S>> later) {
    this.state = state;
    this.actions = actions;
    this.later = later;
  }

  /** Goes on with a state, and gives the default reply. */
  public static <S> Step<S> next(S state) {
    return new Step<>(state, List.of(), null);
  }

  /** Leaves the event open until the stage yields the step; no thread is held meanwhile. */
  public static <S> Step<S> later(CompletionStage<Step<S>> stage) {
    return new Step<>(null, List.of(), stage);
  }

  /** Returns the step with a response: modifications first, at most one reply last. */
  public Step<S> respond(IPersistentMap... response) {
    return new Step<>(state, List.of(response), later);
  }

  /** Returns the next state. */
  public S state() {
    return state;
  }

  /** Returns the response, empty for the default reply. */
  public List<IPersistentMap> actions() {
    return actions;
  }

  /** Returns the stage that yields the step, or null if this is the step. */
  CompletionStage<Step<S>> later() {
    return later;
  }
}
