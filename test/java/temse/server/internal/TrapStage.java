package temse.server.internal;

import java.util.concurrent.CompletableFuture;
import java.util.function.BiConsumer;

/** A stage that calls back at once, twice, or throws at whoever wants to wait for it. */
final class TrapStage<T> extends CompletableFuture<T> {
  private final int callsBack;
  private final T value;
  private final Throwable thrown;

  TrapStage(int callsBack, T value, Throwable thrown) {
    this.callsBack = callsBack;
    this.value = value;
    this.thrown = thrown;
  }

  @Override
  public CompletableFuture<T> whenComplete(BiConsumer<? super T, ? super Throwable> action) {
    for (int i = 0; i < callsBack; i++) {
      action.accept(value, null);
    }
    if (thrown != null) {
      throw Chaos.raise(thrown);
    }
    return callsBack > 0 ? this : super.whenComplete(action);
  }
}
