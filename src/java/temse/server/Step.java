package temse.server;

import clojure.lang.IPersistentMap;
import java.util.List;
import java.util.Objects;
import java.util.concurrent.CompletionStage;
import temse.protocol.ActionCodec;
import temse.protocol.ActionType;
import temse.protocol.Keys;
import temse.protocol.MilterException;

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

  /**
   * Leaves the event open until the stage yields the step; no thread is held meanwhile. That step
   * may leave it open again. The stage is not cancelled if it does not complete in time: others may
   * wait for it.
   */
  public static <S> Step<S> later(CompletionStage<Step<S>> stage) {
    return new Step<>(null, List.of(), Objects.requireNonNull(stage, "stage"));
  }

  /**
   * Returns the step with a response: modifications first, at most one reply last.
   *
   * @throws MilterException BAD_ACTION if an action cannot be sent, DOUBLE_REPLY or LATE_ACTION if
   *     one comes after a reply
   * @throws IllegalStateException if the step has a response already, or is one that comes later
   */
  public Step<S> respond(IPersistentMap... response) {
    if (later != null) {
      throw new IllegalStateException(
          "a step that comes later has no response of its own; let its stage yield one");
    }
    if (!actions.isEmpty()) {
      throw new IllegalStateException("the step has a response already: give all actions at once");
    }
    List<IPersistentMap> checked = List.of(response);
    for (int i = 0; i < checked.size(); i++) {
      ActionCodec.check(checked.get(i));
      if (i > 0 && isReply(checked.get(i - 1))) {
        throw afterReply(checked.get(i - 1), checked.get(i));
      }
    }
    return new Step<>(state, checked, null);
  }

  private static boolean isReply(IPersistentMap action) {
    return ActionCodec.type(ActionCodec.normalise(action)).kind == ActionType.Kind.REPLY;
  }

  private static MilterException afterReply(IPersistentMap reply, IPersistentMap action) {
    return new MilterException(
        isReply(action)
            ? MilterException.Category.DOUBLE_REPLY
            : MilterException.Category.LATE_ACTION,
        action.valAt(Keys.ACTION)
            + " comes after "
            + reply.valAt(Keys.ACTION)
            + "; a response has one reply, which goes last",
        Keys.ACTION,
        action);
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
