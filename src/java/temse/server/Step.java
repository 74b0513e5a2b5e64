package temse.server;

import java.util.List;
import java.util.Objects;
import java.util.concurrent.CompletionStage;
import org.jspecify.annotations.Nullable;
import temse.protocol.Action;
import temse.protocol.MilterException;

/**
 * What a handler of a {@link Milter} makes of an event: the next state and the response. Immutable.
 *
 * <pre>{@code
 * Step.next(state).respond(Action.addHeader("X-Seen", "yes"), Action.accept())
 * }</pre>
 *
 * @param <S> the state that the milter keeps
 */
public final class Step<S extends @Nullable Object> {
  private final S state;
  private final List<Action> actions;
  private final @Nullable CompletionStage<? extends Step<? extends S>> later;

  private Step(
      S state, List<Action> actions, @Nullable CompletionStage<? extends Step<? extends S>> later) {
    this.state = state;
    this.actions = actions;
    this.later = later;
  }

  /**
   * Makes a step that goes on with a state, and gives the default reply.
   *
   * @param <S> the state that is kept
   * @param state for the next handler
   * @return the step
   */
  public static <S extends @Nullable Object> Step<S> next(S state) {
    return new Step<>(state, List.of(), null);
  }

  /**
   * Makes a step that leaves the event open until the stage yields the step; no thread is held
   * meanwhile. That step may leave it open again. The stage is not cancelled if it does not
   * complete in time: others may wait for it.
   *
   * @param <S> the state that is kept
   * @param stage yields the step; failing, it is a failure of the handler
   * @return the step
   */
  public static <S extends @Nullable Object> Step<S> later(
      CompletionStage<? extends Step<? extends S>> stage) {
    return new Step<>(null, List.of(), Objects.requireNonNull(stage, "stage"));
  }

  /**
   * {@return the step with a response: modifications first, at most one reply last}
   *
   * @param response the actions, in the order in which they are sent
   * @throws MilterException DOUBLE_REPLY or LATE_ACTION if an action comes after a reply
   * @throws IllegalStateException if the step has a response already, or is one that comes later
   */
  public Step<S> respond(Action... response) {
    if (later != null) {
      throw new IllegalStateException(
          "a step that comes later has no response of its own; let its stage yield one");
    }
    if (!actions.isEmpty()) {
      throw new IllegalStateException("the step has a response already: give all actions at once");
    }
    List<Action> checked = List.of(response);
    for (int i = 1; i < checked.size(); i++) {
      if (checked.get(i - 1) instanceof Action.Reply reply) {
        throw afterReply(reply, checked.get(i));
      }
    }
    return new Step<>(state, checked, null);
  }

  private static MilterException afterReply(Action.Reply reply, Action action) {
    return new MilterException(
        action instanceof Action.Reply
            ? MilterException.Category.DOUBLE_REPLY
            : MilterException.Category.LATE_ACTION,
        action + " comes after " + reply + "; a response has one reply, which goes last",
        "action",
        action.map());
  }

  /** {@return the next state} */
  public S state() {
    return state;
  }

  /** {@return the response, empty for the default reply} */
  public List<Action> actions() {
    return actions;
  }

  /** {@return the stage that yields the step, or null if this is the step} */
  @Nullable CompletionStage<? extends Step<? extends S>> later() {
    return later;
  }
}
