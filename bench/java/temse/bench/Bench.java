package temse.bench;

import java.io.IOException;
import java.net.ServerSocket;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.LocalDate;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.TimeUnit;

/**
 * Measures all servers alternately and writes the medians: {@code bin/bench} tells how. Server and
 * driver share one core while they are measured, after a warm-up on all of them; at a steady rate
 * they are not bound.
 */
final class Bench {
  private static final Path WORK = Path.of("target/bench");
  private static final int ROUNDS = 5;
  private static final double CPU_SECONDS = 0.2;
  private static final double LONGEST = 1;
  private static final double STEADY_SECONDS = 3;

  /** Seconds until a JVM has compiled what matters: of the first workload, then of each. */
  private static final double WARM_UP = 8;

  private static final double FURTHER_WARM_UP = 0.8;

  /** A socket and the workloads that are measured over it. */
  private record Part(String socket, List<Workload> workloads) {}

  private static final List<Part> QUICK =
      List.of(new Part("tcp", List.of(Workload.W1, Workload.W2, Workload.W4)));
  private static final List<Part> ALL =
      List.of(
          new Part(
              "tcp",
              List.of(
                  Workload.W1,
                  Workload.W1R,
                  Workload.W2,
                  Workload.W3,
                  Workload.W4,
                  Workload.W5,
                  Workload.W6,
                  Workload.A10,
                  Workload.A500,
                  Workload.A5000)),
          new Part("unix", List.of(Workload.W1, Workload.W2, Workload.W4)));

  private final CpuClock clock;
  private final Report report;

  private Bench(CpuClock clock, Report report) {
    this.clock = clock;
    this.report = report;
  }

  public static void main(String[] args) throws IOException, InterruptedException {
    boolean quick = args.length == 1 && args[0].equals("quick");
    try (CpuClock clock = new CpuClock(WORK.resolve("cpu_clock").toString())) {
      Report report = new Report(quick ? "quick" : "all");
      Bench bench = new Bench(clock, report);
      for (Part part : quick ? QUICK : ALL) {
        bench.measure(part);
      }
      report.write(Path.of("bench/results", LocalDate.now() + ".edn"));
    }
  }

  /** The command lines of the servers, to which the address is appended. */
  private static Map<String, List<String>> commands() throws IOException {
    String java = System.getProperty("java.home") + "/bin/java";
    String library =
        "target/classes:" + Files.readString(Path.of("target/bin/run.classpath")).strip();
    Map<String, List<String>> commands = new LinkedHashMap<>();
    commands.put(Report.LIBMILTER, List.of(WORK.resolve("seen_filter").toString()));
    commands.put(
        Report.NULL, List.of(java, "-cp", "target/bench-classes", "temse.bench.NullServer"));
    commands.put("java", List.of(java, "-cp", library + ":target/example-classes", "SeenFilter"));
    commands.put("clojure", List.of("bin/temse", "run", "examples/seen_filter.clj", "--listen"));
    commands.put("message", List.of("bin/temse", "run", "examples/seen_message.clj", "--listen"));
    return commands;
  }

  private void measure(Part part) throws IOException, InterruptedException {
    List<Server> servers = new ArrayList<>();
    for (Map.Entry<String, List<String>> entry : commands().entrySet()) {
      String name = entry.getKey();
      servers.add(
          Server.start(
              name,
              entry.getValue(),
              address(part.socket(), name),
              WORK.resolve(name + ".log").toFile()));
    }
    try {
      for (Server server : servers) {
        warmUp(server, part.workloads().get(0), WARM_UP);
      }
      for (Workload workload : part.workloads()) {
        measure(part.socket(), workload, servers);
      }
    } finally {
      for (Server server : servers) {
        server.stop();
      }
    }
  }

  private void warmUp(Server server, Workload workload, double seconds) throws IOException {
    if (!server.name().equals(Report.LIBMILTER)) {
      LoadDriver.run(workload, server, clock, seconds, seconds);
    }
  }

  private void measure(String socket, Workload workload, List<Server> servers)
      throws IOException, InterruptedException {
    for (Server server : servers) {
      warmUp(server, workload, FURTHER_WARM_UP);
    }
    boolean steady = workload.perSecond() > 0;
    if (!steady) {
      bind(servers, "0");
    }
    Map<Server, List<Sample>> samples = new LinkedHashMap<>();
    for (int round = 0; round < ROUNDS; round++) {
      for (Server server : servers) {
        samples
            .computeIfAbsent(server, unused -> new ArrayList<>())
            .add(
                LoadDriver.run(
                    workload,
                    server,
                    clock,
                    steady ? STEADY_SECONDS : CPU_SECONDS,
                    steady ? STEADY_SECONDS : LONGEST));
      }
    }
    samples.forEach((server, all) -> report.add(socket, workload, server.name(), all));
    report.print(socket, workload);
    bind(servers, "0-" + (Report.CORES - 1));
  }

  /** Binds the servers and this process to cores. */
  private static void bind(List<Server> servers, String cores)
      throws IOException, InterruptedException {
    bind(ProcessHandle.current().pid(), cores);
    for (Server server : servers) {
      bind(server.pid(), cores);
    }
  }

  private static void bind(long pid, String cores) throws IOException, InterruptedException {
    Process taskset =
        new ProcessBuilder("taskset", "-a", "-c", "-p", cores, Long.toString(pid))
            .redirectErrorStream(true)
            .redirectOutput(ProcessBuilder.Redirect.DISCARD)
            .start();
    if (!taskset.waitFor(10, TimeUnit.SECONDS) || taskset.exitValue() != 0) {
      throw new IOException("cannot bind process " + pid + " to core " + cores);
    }
  }

  private static String address(String socket, String name) throws IOException {
    if (socket.equals("unix")) {
      return "unix:" + WORK.resolve(name + ".sock").toAbsolutePath();
    }
    try (ServerSocket free = new ServerSocket(0)) {
      return "inet:" + free.getLocalPort() + "@127.0.0.1";
    }
  }
}
