package temse.server;

import clojure.lang.IPersistentMap;
import java.util.List;
import java.util.concurrent.CompletionException;
import java.util.concurrent.CompletionStage;
import java.util.concurrent.ExecutionException;
import java.util.function.Function;

/** A value that a handler waits for, with the times at which the MTA wants to hear of it. */
final class PendingValue<T> {
  private final CompletionStage<T> stage;
  private final Function<? super T, List<IPersistentMap>> whenDone;
  private final long expiresAt;
  private final long progressInterval;
  private long progressAt;

  PendingValue(
      CompletionStage<T> stage,
      Function<? super T, List<IPersistentMap>> whenDone,
      long now,
      long timeout,
      long progressInterval) {
    this.stage = stage;
    this.whenDone = whenDone;
    this.expiresAt = now + timeout;
    this.progressInterval = progressInterval;
    this.progressAt = now + progressInterval;
  }

  /** Returns when {@link #expired} or {@link #progressDue} will be true next. */
  long deadline() {
    return progressAt - expiresAt < 0 ? progressAt : expiresAt;
  }

  boolean expired(long now) {
    return now - expiresAt >= 0;
  }

  /** Returns true if it is time to send progress, once per interval. */
  boolean progressDue(long now) {
    if (now - progressAt < 0) {
      return false;
    }
    progressAt = now + progressInterval;
    return true;
  }

  List<IPersistentMap> response(T result) {
    return whenDone.apply(result);
  }

  /** Gives the value up, where it can be told so. */
  void cancel() {
    try {
      stage.toCompletableFuture().cancel(true);
    } catch (UnsupportedOperationException e) {
      return;
    }
  }

  static Throwable unwrapped(Throwable error) {
    boolean wrapped = error instanceof CompletionException || error instanceof ExecutionException;
    return wrapped && error.getCause() != null ? error.getCause() : error;
  }
}
