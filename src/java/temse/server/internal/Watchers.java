package temse.server.internal;

import java.util.Arrays;
import java.util.Objects;
import java.util.function.Consumer;
import temse.server.Exchange;

/** Who watches the exchanges of a server at the moment, by key. Any thread. */
public final class Watchers {
  private record Watcher(Object key, Consumer<? super Exchange> function) {}

  private volatile Watcher[] all = {};

  Watchers() {}

  /**
   * Adds a watcher, in the place of one with an equal key.
   *
   * @param key names the watcher
   * @param watcher receives each exchange
   */
  public synchronized void add(Object key, Consumer<? super Exchange> watcher) {
    Objects.requireNonNull(key, "key");
    Objects.requireNonNull(watcher, "watcher");
    remove(key);
    Watcher[] more = Arrays.copyOf(all, all.length + 1);
    more[all.length] = new Watcher(key, watcher);
    all = more;
  }

  /**
   * Removes the watcher with an equal key, if there is one.
   *
   * @param key names the watcher
   */
  public synchronized void remove(Object key) {
    all = Arrays.stream(all).filter(watcher -> !watcher.key.equals(key)).toArray(Watcher[]::new);
  }

  /** {@return true if anybody watches} */
  boolean any() {
    return all.length > 0;
  }

  /** Reports an exchange to all; what one of them throws goes to {@code failed}. */
  void report(Exchange exchange, Consumer<Throwable> failed) {
    for (Watcher watcher : all) {
      try {
        watcher.function.accept(exchange);
      } catch (Throwable e) {
        failed.accept(e);
      }
    }
  }
}
