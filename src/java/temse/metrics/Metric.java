package temse.metrics;

import static temse.metrics.Metric.Kind.COUNTER;
import static temse.metrics.Metric.Kind.GAUGE;

import java.util.List;
import java.util.Map;
import java.util.function.Function;
import java.util.function.ToDoubleFunction;
import org.jspecify.annotations.Nullable;
import temse.server.MilterServer;
import temse.server.ServerCounters;

/**
 * One number of a server, or one for each of some names; {@link #ALL} is the table of those that
 * are exported.
 *
 * @param name of the metric, without prefix, unit and suffix
 * @param unit {@code bytes}, {@code seconds}, or empty
 * @param help what it is
 * @param label what the names are, or null if there is one number
 * @param values the numbers by name; the empty name if there is one number
 */
record Metric(
    String name,
    Kind kind,
    String unit,
    String help,
    @Nullable String label,
    Function<Reading, Map<String, ? extends Number>> values) {
  enum Kind {
    COUNTER,
    GAUGE
  }

  /** A server, and its counters at one time. */
  record Reading(MilterServer server, ServerCounters counters) {
    static Reading of(MilterServer server) {
      return new Reading(server, server.counters());
    }
  }

  static final List<Metric> ALL =
      List.of(
          gauge("connections", "", "Open connections.", now -> now.server.connections()),
          counter(
              "connections_accepted",
              "",
              "Connections accepted, including those refused.",
              ServerCounters::accepted),
          counter(
              "connections_refused",
              "",
              "Connections closed at once: too many, or not allowed.",
              ServerCounters::refused),
          counter(
              "connections_refused_per_peer",
              "",
              "Connections closed at once because their peer had too many.",
              ServerCounters::refusedPerPeer),
          counter(
              "connections_refused_by_address",
              "",
              "Connections closed at once because their peer is not among those that may connect.",
              ServerCounters::refusedByAddress),
          counter("probes", "", "Connections of somebody who is no MTA.", ServerCounters::probes),
          labelled(
              "events",
              "Events that MTAs have sent, and ends of messages and clients.",
              "event",
              ServerCounters::events),
          labelled(
              "messages", "Messages that have ended, by how.", "verdict", ServerCounters::messages),
          labelled(
              "errors",
              "Failures of handlers, breaches of the protocol and lost connections.",
              "kind",
              ServerCounters::errors),
          counter("received", "bytes", "Bytes from MTAs.", ServerCounters::bytesRead),
          counter("sent", "bytes", "Bytes to MTAs.", ServerCounters::bytesWritten),
          gauge(
              "pending_values",
              "",
              "Events whose handlers wait for a value, without a thread.",
              now -> now.server.pendingValues()),
          gauge(
              "spilled_bodies",
              "",
              "Bodies of messages in temporary files.",
              now -> now.server.spilledBodies()),
          gauge(
              "spilled",
              "bytes",
              "Bytes of bodies in temporary files.",
              now -> now.server.spilledBytes()),
          counter(
              "limits_exceeded",
              "",
              "Messages, packets and connections that went beyond a limit.",
              ServerCounters::limitsExceeded),
          counter(
              "timeouts", "", "Connections of MTAs that were too slow.", ServerCounters::timeouts),
          counter(
              "listener_failures",
              "",
              "Reports and measurements that failed.",
              ServerCounters::listenerFailures),
          counter("reloads", "", "Other filters taken over.", ServerCounters::reloads),
          counter(
              "hand_overs",
              "",
              "Event loops that left their thread to a blocking handler.",
              ServerCounters::handOvers),
          counter(
              "lent",
              "",
              "Connections lent to another thread because their handler was expected to block.",
              ServerCounters::lent),
          counter(
              "waits",
              "",
              "Connections that had to wait for a thread because too many handlers were blocking.",
              ServerCounters::waits),
          counter(
              "starved",
              "",
              "Connections for whose handler no thread came free in time.",
              ServerCounters::starved),
          counter(
              "stalls",
              "",
              "Event loops held up by a handler because no thread could be had.",
              ServerCounters::stalls),
          counter(
              "dropped_reports",
              "",
              "Refusals and failures that were not reported since the log blocked.",
              ServerCounters::droppedReports),
          gauge("ready", "", "1 until the server stops.", now -> now.server.isListening() ? 1 : 0),
          gauge(
              "start_time",
              "seconds",
              "When the server was started, since 1970.",
              now -> now.server.startedAt().toEpochMilli() / 1e3));

  private static Metric gauge(
      String name, String unit, String help, Function<Reading, Number> value) {
    return new Metric(name, GAUGE, unit, help, null, now -> Map.of("", value.apply(now)));
  }

  private static Metric counter(
      String name, String unit, String help, Function<ServerCounters, Long> value) {
    return new Metric(
        name, COUNTER, unit, help, null, now -> Map.of("", value.apply(now.counters)));
  }

  private static Metric labelled(
      String name, String help, String label, Function<ServerCounters, Map<String, Long>> values) {
    return new Metric(name, COUNTER, "", help, label, now -> values.apply(now.counters));
  }

  /** {@return what reads one of the numbers} */
  ToDoubleFunction<MilterServer> reader(String key) {
    return server -> values.apply(Reading.of(server)).get(key).doubleValue();
  }
}
