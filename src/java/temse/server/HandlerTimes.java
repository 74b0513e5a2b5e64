package temse.server;

import java.util.NavigableMap;

/**
 * How long the handlers of one event took since they are measured, in nanoseconds. Percentiles are
 * exact to one hundredth of their value.
 *
 * @param count how many times were recorded
 * @param sum of them all
 * @param p50 the median: half of the times are at most this long
 * @param p90 the 90th percentile
 * @param p99 the 99th percentile
 * @param max the longest
 * @param atMost how many times are at most as long as each of a row of bounds
 */
public record HandlerTimes(
    long count,
    long sum,
    long p50,
    long p90,
    long p99,
    long max,
    NavigableMap<Long, Long> atMost) {}
