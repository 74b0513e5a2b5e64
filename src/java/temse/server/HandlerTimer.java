package temse.server;

import java.util.Map;
import temse.protocol.EventType;

/**
 * Receives how long handlers take: see {@link MilterServer#measureWith}. It is called by the
 * threads that serve connections, several at a time, and must not block. What it throws is counted
 * among the failures of listeners.
 */
public interface HandlerTimer {
  /**
   * A handler has been called, and its event is settled.
   *
   * @param type what the handler is for
   * @param nanos from its start to the settling, the time included for which a value was pending
   */
  void record(EventType type, long nanos);

  /**
   * {@return what was recorded, by the names of events such as {@code end-of-message}; empty if
   * this timer passes times on and keeps none}
   */
  default Map<String, HandlerTimes> times() {
    return Map.of();
  }
}
