package temse.bench;

import java.util.Map;

/**
 * What one run of a workload against one server showed.
 *
 * @param events answers while it was measured
 * @param messages the same in messages; those in hand when it began or ended count in part
 * @param nanos wall time
 * @param cpuNanos user and system time of the server
 * @param residentMemory of the server at the end, in bytes
 * @param idleMemory bytes for each of the idle connections, or 0 if there are none
 * @param latencies round trips by what was answered
 */
record Sample(
    long events,
    double messages,
    long nanos,
    long cpuNanos,
    long residentMemory,
    long idleMemory,
    Map<Stage, Histogram> latencies) {

  /** Returns the round trips of all events. */
  Histogram latency() {
    Histogram all = new Histogram();
    latencies.values().forEach(all::add);
    return all;
  }

  double cpuMicrosPerEvent() {
    return cpuNanos / 1e3 / events;
  }

  double cpuMicrosPerMessage() {
    return cpuNanos / 1e3 / messages;
  }

  double messagesPerSecond() {
    return messages * 1e9 / nanos;
  }
}
