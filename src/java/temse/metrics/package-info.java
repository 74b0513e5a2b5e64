/**
 * What a server does, in numbers, for those who watch it: see {@link temse.server.ServerCounters}
 * for the numbers themselves.
 *
 * <ul>
 *   <li>Prometheus and health checks, over HTTP: {@link temse.metrics.MetricsServer}. Requires the
 *       JDK's module {@code jdk.httpserver}.
 *   <li>JMX: {@link temse.metrics.MilterMXBean} with its {@link temse.metrics.HandlerMillis},
 *       registered by {@link temse.metrics.MilterJmx}. Requires the JDK's module {@code
 *       java.management}.
 *   <li>Micrometer: {@link temse.metrics.MicrometerMetrics}. Requires {@code
 *       io.micrometer:micrometer-core}, which temse does not bring along.
 *   <li>Percentiles of the times of handlers, for all of them: {@link
 *       temse.metrics.HandlerHistograms}. Requires {@code org.hdrhistogram:HdrHistogram}, which
 *       temse does not bring along.
 * </ul>
 */
@NullMarked
package temse.metrics;

import org.jspecify.annotations.NullMarked;
