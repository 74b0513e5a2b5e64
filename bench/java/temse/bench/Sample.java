package temse.bench;

import java.util.Map;

/**
 * What one run of a workload against one server showed.
 *
 * @param messages messages served while it was measured
 * @param nanos wall time
 * @param cpuNanos user and system time of the server
 * @param residentMemory of the server at the end, in bytes
 * @param idleMemory bytes for each of the idle connections, or 0 if there are none
 * @param latencies round trips by what was answered
 */
record Sample(
    long messages,
    long nanos,
    long cpuNanos,
    long residentMemory,
    long idleMemory,
    Map<Stage, Histogram> latencies) {

  double cpuMicrosPerMessage() {
    return cpuNanos / 1e3 / messages;
  }

  double messagesPerSecond() {
    return messages * 1e9 / nanos;
  }
}
