package temse.server.internal;

import clojure.lang.IPersistentMap;
import java.util.List;
import java.util.concurrent.CompletionException;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.function.Function;
import temse.protocol.MilterException;
import temse.transport.internal.Nanos;

/** A value that a handler waits for, with the times at which the MTA wants progress. */
final class PendingValue<T> {
  /** What comes between the two packets that show whether a peer still listens. */
  private static final long PROBE = TimeUnit.MILLISECONDS.toNanos(100);

  private final Function<? super T, List<IPersistentMap>> whenDone;
  private final Runnable givenUp;
  private final long expiresAt;
  private final long progressInterval;
  private long progressAt;

  PendingValue(
      Function<? super T, List<IPersistentMap>> whenDone,
      Runnable givenUp,
      long now,
      long timeout,
      long progressInterval) {
    this.whenDone = whenDone;
    this.givenUp = givenUp;
    this.expiresAt = Nanos.after(now, timeout);
    this.progressInterval = progressInterval;
    this.progressAt = Nanos.after(now, progressInterval);
  }

  /** {@return when {@link #expired} or {@link #progressDue} will be true next} */
  long deadline() {
    return progressAt - expiresAt < 0 ? progressAt : expiresAt;
  }

  boolean expired(long now) {
    return now - expiresAt >= 0;
  }

  /** {@return true if it is time to send progress, once per interval} */
  boolean progressDue(long now) {
    if (now - progressAt < 0) {
      return false;
    }
    progressAt = Nanos.after(now, progressInterval);
    return true;
  }

  /**
   * Progress has been sent to see whether a peer that sends no more still listens: the answer to a
   * first packet that nobody reads lets a second one fail, so that is due soon.
   */
  void probing(long now) {
    progressAt = now + Math.min(PROBE, progressInterval);
  }

  List<IPersistentMap> response(T result) {
    return whenDone.apply(result);
  }

  /** Nobody waits for the value any more: the work for it may be stopped. */
  void giveUp() {
    givenUp.run();
  }

  /**
   * Returns the outcome of a value that came too late: the work for it is given up, and it fails.
   */
  EventCall.Outcome late(MilterException error) {
    return () -> {
      try {
        giveUp();
      } catch (Throwable e) {
        error.addSuppressed(e);
      }
      throw error;
    };
  }

  static Throwable unwrapped(Throwable error) {
    boolean wrapped = error instanceof CompletionException || error instanceof ExecutionException;
    return wrapped && error.getCause() != null ? error.getCause() : error;
  }
}
