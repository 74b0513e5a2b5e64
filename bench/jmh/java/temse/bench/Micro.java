package temse.bench;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Collection;
import java.util.List;
import java.util.Locale;
import java.util.concurrent.TimeUnit;
import org.openjdk.jmh.annotations.Mode;
import org.openjdk.jmh.infra.BenchmarkParams;
import org.openjdk.jmh.profile.GCProfiler;
import org.openjdk.jmh.results.RunResult;
import org.openjdk.jmh.runner.Runner;
import org.openjdk.jmh.runner.RunnerException;
import org.openjdk.jmh.runner.options.Options;
import org.openjdk.jmh.runner.options.OptionsBuilder;
import org.openjdk.jmh.runner.options.TimeValue;
import org.openjdk.jmh.runner.options.VerboseMode;

/**
 * Measures time and allocation of codec, negotiation and engine, each in a JVM of its own, prints a
 * table and writes {@code target/bench/micro.edn}.
 */
final class Micro {
  /**
   * A heap that grows while it is measured costs more than what is measured, on virtual machines.
   */
  private static final String[] TOUCHED_HEAP = {"-Xms256m", "-Xmx256m", "-XX:+AlwaysPreTouch"};

  private static final Path RESULTS = Path.of("target/bench/micro.edn");

  private record Row(String benchmark, double nanos, double bytes) {}

  private Micro() {}

  public static void main(String[] args) throws IOException, RunnerException {
    List<Row> rows = rows(new Runner(options()).run());
    print(rows);
    write(rows);
  }

  private static Options options() {
    return new OptionsBuilder()
        .mode(Mode.AverageTime)
        .timeUnit(TimeUnit.NANOSECONDS)
        .forks(1)
        .jvmArgs(TOUCHED_HEAP)
        .measurementIterations(3)
        .measurementTime(TimeValue.milliseconds(300))
        .addProfiler(GCProfiler.class)
        .shouldFailOnError(true)
        .verbosity(VerboseMode.SILENT)
        .build();
  }

  private static List<Row> rows(Collection<RunResult> results) {
    return results.stream()
        .map(
            result ->
                new Row(
                    name(result.getParams()),
                    result.getPrimaryResult().getScore(),
                    result.getSecondaryResults().get("gc.alloc.rate.norm").getScore()))
        .toList();
  }

  /** Returns the name of the method and its parameter, such as {@code decode-header}. */
  private static String name(BenchmarkParams benchmark) {
    String name = benchmark.getBenchmark();
    StringBuilder words = new StringBuilder(name.substring(name.lastIndexOf('.') + 1));
    for (String key : benchmark.getParamsKeys()) {
      words.append('-').append(benchmark.getParam(key));
    }
    return words.toString().toLowerCase(Locale.ROOT).replace('_', '-');
  }

  private static void print(List<Row> rows) {
    System.out.printf("%n%-20s %12s %12s%n", "", "ns", "bytes");
    for (Row row : rows) {
      System.out.printf(Locale.ROOT, "%-20s %12.1f %12.0f%n", row.benchmark, row.nanos, row.bytes);
    }
  }

  private static void write(List<Row> rows) throws IOException {
    StringBuilder edn = new StringBuilder("{:rows\n [");
    String separator = "";
    for (Row row : rows) {
      edn.append(separator)
          .append(
              String.format(
                  Locale.ROOT,
                  "{:benchmark \"%s\" :nanos %.1f :bytes %.0f}",
                  row.benchmark,
                  row.nanos,
                  row.bytes));
      separator = "\n  ";
    }
    Files.createDirectories(RESULTS.getParent());
    Files.writeString(RESULTS, edn.append("]}\n"));
  }
}
