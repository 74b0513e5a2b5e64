package temse.transport.internal;

import java.net.InetAddress;
import java.util.HashMap;
import java.util.Map;

/** Counts the connections of each peer, up to a limit. Any thread. */
final class Peers {
  private final int limit;
  private final Map<InetAddress, Integer> counts = new HashMap<>();

  /**
   * @param limit connections that a peer may have, or 0 for any number
   */
  Peers(int limit) {
    this.limit = limit;
  }

  boolean areLimited() {
    return limit > 0;
  }

  /**
   * Counts one more connection, unless the peer has too many.
   *
   * @param peer null if it is not counted
   */
  synchronized boolean enter(InetAddress peer) {
    if (peer == null) {
      return true;
    }
    int count = counts.getOrDefault(peer, 0);
    if (count == limit) {
      return false;
    }
    counts.put(peer, count + 1);
    return true;
  }

  /** Takes back what {@link #enter} has counted. */
  void leave(InetAddress peer) {
    if (peer != null) {
      synchronized (this) {
        counts.computeIfPresent(peer, (key, count) -> count == 1 ? null : count - 1);
      }
    }
  }

  /** Returns how many peers have connections. */
  synchronized int size() {
    return counts.size();
  }
}
