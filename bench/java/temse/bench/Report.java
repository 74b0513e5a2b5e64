package temse.bench;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.LocalDate;
import java.util.ArrayList;
import java.util.EnumMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.function.ToDoubleFunction;

/** The medians, as a table and as EDN. */
final class Report {
  /** The servers that the others are compared with. */
  static final String LIBMILTER = "libmilter";

  static final String NULL = "null";

  /** The cores there are, before this process is bound to one. */
  static final int CORES = Runtime.getRuntime().availableProcessors();

  private static final String HEAD =
      "%n%-6s %-5s %-10s %10s %10s %6s %9s %9s %9s %8s %9s%n"
          .formatted(
              "load",
              "over",
              "server",
              "CPU us/msg",
              "/libmilter",
              "/null",
              "msg/s",
              "p50 us",
              "p99 us",
              "MiB",
              "KiB/idle");

  private record Row(
      String socket,
      Workload workload,
      String server,
      double cpuMicros,
      double messagesPerSecond,
      double mebibytes,
      double idleKibibytes,
      Histogram latency,
      Map<Stage, Histogram> latencies) {}

  private final String mode;
  private final List<Row> rows = new ArrayList<>();

  Report(String mode) {
    this.mode = mode;
  }

  void add(String socket, Workload workload, String server, List<Sample> samples) {
    Histogram all = new Histogram();
    Map<Stage, Histogram> byStage = new EnumMap<>(Stage.class);
    for (Sample sample : samples) {
      sample
          .latencies()
          .forEach(
              (stage, latency) -> {
                all.add(latency);
                byStage.computeIfAbsent(stage, unused -> new Histogram()).add(latency);
              });
    }
    rows.add(
        new Row(
            socket,
            workload,
            server,
            median(samples, Sample::cpuMicrosPerMessage),
            median(samples, Sample::messagesPerSecond),
            median(samples, Sample::residentMemory) / (1 << 20),
            median(samples, Sample::idleMemory) / (1 << 10),
            all,
            byStage));
  }

  private static double median(List<Sample> samples, ToDoubleFunction<Sample> figure) {
    double[] sorted = samples.stream().mapToDouble(figure).sorted().toArray();
    return sorted[sorted.length / 2];
  }

  /** Prints the lines of a workload. */
  void print(String socket, Workload workload) {
    System.out.print(HEAD);
    for (Row row : rows) {
      if (row.socket.equals(socket) && row.workload.equals(workload)) {
        System.out.printf(
            Locale.ROOT,
            "%-6s %-5s %-10s %10.1f %10.2f %6.2f %9.0f %9.1f %9.1f %8.0f %9.1f%n",
            workload.name(),
            socket,
            row.server,
            row.cpuMicros,
            ratio(row, LIBMILTER),
            ratio(row, NULL),
            row.messagesPerSecond,
            row.latency.micros(0.5),
            row.latency.micros(0.99),
            row.mebibytes,
            row.idleKibibytes);
      }
    }
  }

  private double ratio(Row row, String peer) {
    return rows.stream()
        .filter(r -> r.server.equals(peer))
        .filter(r -> r.socket.equals(row.socket) && r.workload.equals(row.workload))
        .mapToDouble(r -> row.cpuMicros / r.cpuMicros)
        .findFirst()
        .orElse(Double.NaN);
  }

  /** Writes everything as EDN. */
  void write(Path file) throws IOException {
    StringBuilder edn = new StringBuilder();
    edn.append("{:date \"").append(LocalDate.now());
    edn.append("\"\n :mode :").append(mode);
    edn.append("\n :jdk \"").append(System.getProperty("java.vm.version"));
    edn.append("\"\n :processor \"").append(processor());
    edn.append("\"\n :cores ").append(CORES);
    edn.append("\n :kernel \"").append(System.getProperty("os.version"));
    edn.append("\"\n :results\n [");
    String separator = "";
    for (Row row : rows) {
      edn.append(separator).append(edn(row));
      separator = "\n  ";
    }
    Files.createDirectories(file.getParent());
    Files.writeString(file, edn.append("]}\n"));
  }

  private String edn(Row row) {
    StringBuilder stages = new StringBuilder();
    row.latencies.forEach(
        (stage, latency) -> {
          if (!latency.isEmpty()) {
            String name = stage.name().toLowerCase(Locale.ROOT).replace('_', '-');
            stages.append(stages.isEmpty() ? "" : " ");
            stages.append(":%s %s".formatted(name, edn(latency)));
          }
        });
    return String.format(
        Locale.ROOT,
        "{:workload :%s :socket :%s :server :%s :cpu-micros %.1f :to-libmilter %.3f :to-null %.3f"
            + " :messages-per-second %.0f :resident-mib %.1f :idle-kib %.2f%n"
            + "   :latency-micros %s%n   :stages {%s}}",
        row.workload.name(),
        row.socket,
        row.server,
        row.cpuMicros,
        ratio(row, LIBMILTER),
        ratio(row, NULL),
        row.messagesPerSecond,
        row.mebibytes,
        row.idleKibibytes,
        edn(row.latency),
        stages);
  }

  private static String edn(Histogram latency) {
    return String.format(
        Locale.ROOT,
        "{:p50 %.1f :p90 %.1f :p99 %.1f :p999 %.1f}",
        latency.micros(0.5),
        latency.micros(0.9),
        latency.micros(0.99),
        latency.micros(0.999));
  }

  private static String processor() throws IOException {
    for (String line : Files.readAllLines(Path.of("/proc/cpuinfo"))) {
      if (line.startsWith("model name")) {
        return line.substring(line.indexOf(':') + 1).strip();
      }
    }
    return System.getProperty("os.arch");
  }
}
