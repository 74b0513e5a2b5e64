package temse.bench;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.EnumMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.function.Function;
import java.util.function.ToDoubleFunction;
import java.util.stream.Collectors;
import java.util.stream.IntStream;

/**
 * The medians, as a table and as EDN. How dear a server is beside another is the median of what the
 * rounds say: what slows the machine down slows both down in the same round.
 */
final class Report {
  private static final String HEAD =
      "%n%-6s %-5s %-18s %10s %10s %6s %7s %9s %9s %9s %8s %9s%n"
          .formatted(
              "load",
              "over",
              "server",
              "CPU us/msg",
              "/libmilter",
              "/null",
              "/before",
              "msg/s",
              "p50 us",
              "p99 us",
              "MiB",
              "KiB/idle");

  private record Row(
      String socket,
      Workload workload,
      Candidate server,
      List<Sample> samples,
      double cpuMicros,
      double messagesPerSecond,
      double mebibytes,
      double idleKibibytes,
      Latency latency,
      Map<Stage, Latency> stages) {}

  /** Percentiles of round trips in microseconds. */
  private record Latency(double p50, double p90, double p99, double p999) {
    static Latency of(List<Histogram> rounds) {
      return new Latency(
          median(rounds, round -> round.micros(0.5)),
          median(rounds, round -> round.micros(0.9)),
          median(rounds, round -> round.micros(0.99)),
          median(rounds, round -> round.micros(0.999)));
    }
  }

  private record Point(Growth growth, String server, double cpuMicros) {}

  private final List<Row> rows = new ArrayList<>();
  private final List<Point> points = new ArrayList<>();

  void add(String socket, Workload workload, Candidate server, List<Sample> samples) {
    Map<Stage, Latency> stages = new EnumMap<>(Stage.class);
    for (Stage stage : Stage.values()) {
      List<Histogram> rounds =
          samples.stream().map(s -> s.latencies().get(stage)).filter(h -> !h.isEmpty()).toList();
      if (!rounds.isEmpty()) {
        stages.put(stage, Latency.of(rounds));
      }
    }
    rows.add(
        new Row(
            socket,
            workload,
            server,
            samples,
            median(samples, Sample::cpuMicrosPerMessage),
            median(samples, Sample::messagesPerSecond),
            median(samples, Sample::residentMemory) / (1 << 20),
            samples.get(0).idleMemory() / 1024.0, // later a heap has room for them already
            Latency.of(samples.stream().map(Sample::latency).toList()),
            stages));
  }

  private static <T> double median(List<T> rounds, ToDoubleFunction<T> figure) {
    double[] sorted = rounds.stream().mapToDouble(figure).sorted().toArray();
    return sorted[sorted.length / 2];
  }

  void addGrowth(Growth growth, String server, List<Sample> samples) {
    points.add(new Point(growth, server, median(samples, Sample::cpuMicrosPerEvent)));
  }

  /** Prints the lines of a workload. */
  void print(String socket, Workload workload) {
    System.out.print(HEAD);
    for (Row row : rows) {
      if (row.socket.equals(socket) && row.workload.equals(workload)) {
        System.out.printf(
            Locale.ROOT,
            "%-6s %-5s %-18s %10.1f %10.2f %6.2f %7.3f %9.0f %9.1f %9.1f %8.0f %9.1f%n",
            workload.name(),
            socket,
            row.server.name(),
            row.cpuMicros,
            ratio(row, Candidate.LIBMILTER),
            ratio(row, row.server.floor()),
            ratio(row, row.server.before()),
            row.messagesPerSecond,
            row.latency.p50,
            row.latency.p99,
            row.mebibytes,
            row.idleKibibytes);
      }
    }
  }

  /** Prints how the cost of an event grows. */
  void printGrowth() {
    System.out.printf("%n%-12s %8s %-10s %12s%n", "over", "count", "server", "CPU us/event");
    for (Point point : points) {
      System.out.printf(
          Locale.ROOT,
          "%-12s %8d %-10s %12.2f%n",
          point.growth.over(),
          point.growth.count(),
          point.server,
          point.cpuMicros);
    }
  }

  private double ratio(Row row, String peer) {
    return rows.stream()
        .filter(r -> r.server.name().equals(peer))
        .filter(r -> r.socket.equals(row.socket) && r.workload.equals(row.workload))
        .mapToDouble(r -> ratio(row.samples, r.samples))
        .findFirst()
        .orElse(Double.NaN);
  }

  private static double ratio(List<Sample> samples, List<Sample> ofPeer) {
    List<Integer> rounds =
        IntStream.range(0, Math.min(samples.size(), ofPeer.size())).boxed().toList();
    return median(
        rounds, i -> samples.get(i).cpuMicrosPerMessage() / ofPeer.get(i).cpuMicrosPerMessage());
  }

  /** Writes everything as EDN: {@code :rows} and {@code :linear}. */
  void write(Path file) throws IOException {
    Files.writeString(
        file,
        "{:rows\n [%s]\n :linear\n [%s]}\n"
            .formatted(lines(rows, this::edn), lines(points, Report::edn)));
  }

  private static <T> String lines(List<T> all, Function<T, String> edn) {
    return all.stream().map(edn).collect(Collectors.joining("\n  "));
  }

  private static String edn(Point point) {
    return String.format(
        Locale.ROOT,
        "{:server :%s :over :%s :count %d :cpu-micros %.2f}",
        point.server,
        point.growth.over(),
        point.growth.count(),
        point.cpuMicros);
  }

  private String edn(Row row) {
    String stages =
        row.stages.entrySet().stream()
            .map(entry -> edn(entry.getKey()) + " " + edn(entry.getValue()))
            .collect(Collectors.joining(" "));
    return String.format(
        Locale.ROOT,
        "{:workload :%s :socket :%s :server :%s :cpu-micros %.1f :to-libmilter %.3f :to-null %.3f"
            + " :messages-per-second %.0f :resident-mib %.1f :idle-kib %.2f%n"
            + "   :latency-micros %s%n   :stages {%s}}",
        row.workload.name(),
        row.socket,
        row.server.name(),
        row.cpuMicros,
        ratio(row, Candidate.LIBMILTER),
        ratio(row, row.server.floor()),
        row.messagesPerSecond,
        row.mebibytes,
        row.idleKibibytes,
        edn(row.latency),
        stages);
  }

  private static String edn(Stage stage) {
    return ":" + stage.name().toLowerCase(Locale.ROOT).replace('_', '-');
  }

  private static String edn(Latency latency) {
    return String.format(
        Locale.ROOT,
        "{:p50 %.1f :p90 %.1f :p99 %.1f :p999 %.1f}",
        latency.p50,
        latency.p90,
        latency.p99,
        latency.p999);
  }
}
