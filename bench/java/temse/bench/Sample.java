package temse.bench;

/**
 * What one run of a workload against one server showed.
 *
 * @param events answers while it was measured
 * @param messages the same in messages; those in progress at the beginning or the end count in part
 * @param nanos wall time
 * @param cpuNanos user and system time of the server
 * @param latency round trips
 */
public record Sample(long events, double messages, long nanos, long cpuNanos, Histogram latency) {}
