package temse.bench;

import com.sun.management.UnixOperatingSystemMXBean;
import java.io.IOException;
import java.lang.management.ManagementFactory;
import java.net.ServerSocket;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Collection;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.TimeUnit;
import java.util.function.Predicate;

/**
 * The section {@code load}: measures all servers alternately and writes the medians. Server and
 * driver share one core while they are measured, after a warm-up on all of them; at a steady rate
 * they are not bound, and for latencies ({@link Workload#L8}) each has its own.
 *
 * <p>With the arguments {@code compare}, names of filters, names of workloads and perhaps another
 * checkout it measures these only, beside those of the other checkout, and writes no file.
 */
final class Load {
  private static final Path WORK = Path.of("target/bench");
  private static final int CORES = Runtime.getRuntime().availableProcessors();
  private static final String ALL_CORES = "0-" + (CORES - 1);

  private static final Length MEASURED = new Length(1, 0.15, 0.6);
  private static final Length STEADY = new Length(1, 1, 1);
  private static final Length STEADY_WARM_UP = new Length(1, 2, 2);
  private static final Length OF_GROWTH = new Length(1, 0.1, 0.5);

  private static final Length WARM_UP = new Length(15_000, 4, 16);

  /** A JVM is warm for a workload when so many runs in turn are not cheaper, by so much. */
  private static final Length FURTHER_WARM_UP = new Length(1, 0.3, 3);

  private static final int CALM_RUNS = 2;
  private static final int MOST_RUNS = 16;
  private static final double CHEAPER = 0.95;
  private static final Length GROWTH_WARM_UP = new Length(1, 0.3, 0.5);

  /** A socket, the workloads that are measured over it, and whether the growth of cost is. */
  private record Part(String socket, List<Workload> workloads, boolean growth) {}

  private static final int ROUNDS = 5;
  private static final int QUICK_ROUNDS = 3;
  private static final int COMPARED_ROUNDS = 11;
  private static final List<Part> QUICK =
      List.of(new Part("tcp", List.of(Workload.W1, Workload.W2, Workload.W4), false));
  private static final List<Part> ALL =
      List.of(
          new Part(
              "tcp",
              List.of(
                  Workload.W1,
                  Workload.W2,
                  Workload.W3,
                  Workload.W4,
                  Workload.W5,
                  Workload.W6,
                  Workload.W7,
                  Workload.W8,
                  Workload.A500,
                  Workload.W1R),
              false),
          new Part("unix", List.of(Workload.W1, Workload.W2, Workload.W4, Workload.L8), true));

  private static final int ROUNDS_OF_GROWTH = 3;

  /** Descriptors of a process beside those of the counted connections. */
  private static final int OTHER_DESCRIPTORS = 200;

  private final CpuClock clock;
  private final List<Candidate> candidates;
  private final int rounds;
  private final Report report = new Report();
  private final Map<Candidate, Server> servers = new LinkedHashMap<>();

  private Load(CpuClock clock, List<Candidate> candidates, int rounds) {
    this.clock = clock;
    this.candidates = candidates;
    this.rounds = rounds;
  }

  public static void main(String[] args) throws IOException, InterruptedException {
    List<String> arguments = List.of(args);
    try (CpuClock clock = new CpuClock(WORK.resolve("cpu_clock").toString())) {
      if (arguments.size() > 2) {
        compare(clock, arguments.subList(1, arguments.size()));
        return;
      }
      boolean quick = arguments.equals(List.of("quick"));
      Load load = new Load(clock, Candidate.all(WORK), quick ? QUICK_ROUNDS : ROUNDS);
      for (Part part : quick ? QUICK : ALL) {
        load.measure(part);
      }
      load.report.write(WORK.resolve("load.edn"));
    }
  }

  private static void compare(CpuClock clock, List<String> arguments)
      throws IOException, InterruptedException {
    Path other = arguments.size() > 2 ? Path.of(arguments.get(2)) : null;
    Set<String> filters = named(arguments.get(0), Candidate.filters());
    Map<String, Workload> known = new LinkedHashMap<>();
    ALL.get(0).workloads().forEach(workload -> known.put(workload.name(), workload));
    List<Workload> workloads =
        named(arguments.get(1), known.keySet()).stream().map(known::get).toList();
    new Load(clock, Candidate.some(filters, other), COMPARED_ROUNDS)
        .measure(new Part("tcp", workloads, false));
  }

  private static Set<String> named(String list, Collection<String> known) {
    Set<String> names = new LinkedHashSet<>(List.of(list.split(",")));
    for (String name : names) {
      if (!known.contains(name)) {
        System.err.println("there is no " + name + "; there are " + String.join(", ", known));
        System.exit(2);
      }
    }
    return names;
  }

  private void measure(Part part) throws IOException, InterruptedException {
    List<Growth> growths =
        part.growth() ? Growth.all(maxDescriptors() - OTHER_DESCRIPTORS) : List.of();
    start(part.socket());
    try {
      warmUp(part, growths);
      for (Workload workload : part.workloads()) {
        measure(part.socket(), workload);
      }
      if (part.growth()) {
        measure(growths);
      }
    } finally {
      for (Server server : servers.values()) {
        server.stop();
      }
      servers.clear();
    }
  }

  private void start(String socket) throws IOException, InterruptedException {
    for (Candidate candidate : candidates) {
      if (candidate.sockets().contains(socket)) {
        servers.put(
            candidate,
            Server.start(
                candidate.name(),
                candidate.command(),
                address(socket, candidate.name()),
                WORK.resolve(candidate.name() + ".log").toFile()));
      }
    }
  }

  /**
   * Has the JVMs compile what matters, before anything is measured: what they have compiled for few
   * connections, each with a core to itself, they compile again when there are many on one core.
   */
  private void warmUp(Part part, List<Growth> growths) throws IOException, InterruptedException {
    for (Candidate candidate : servers.keySet()) {
      if (candidate.jit()) {
        run(candidate, Workload.W1, WARM_UP);
      }
    }
    bind("0", "0");
    for (Candidate candidate : servers.keySet()) {
      if (candidate.jit()) {
        for (Growth growth : growths) {
          if (growth.isFor(candidate)) {
            run(candidate, growth.workload(), GROWTH_WARM_UP);
          }
        }
        for (Workload workload : part.workloads()) {
          if (candidate.takesPart(part.socket(), workload) && !workload.isSteady()) {
            settle(candidate, workload.alone());
          }
        }
      }
    }
    bind(ALL_CORES, ALL_CORES);
  }

  private void settle(Candidate candidate, Workload workload) throws IOException {
    double best = Double.MAX_VALUE;
    for (int runs = 0, calm = 0; calm < CALM_RUNS && runs < MOST_RUNS; runs++) {
      double cost = run(candidate, workload, FURTHER_WARM_UP).cpuMicrosPerMessage();
      calm = cost < CHEAPER * best ? 0 : calm + 1;
      best = Math.min(best, cost);
    }
  }

  private Sample run(Candidate candidate, Workload workload, Length length) throws IOException {
    return LoadDriver.run(workload, servers.get(candidate), clock, length);
  }

  private void measure(String socket, Workload workload) throws IOException, InterruptedException {
    bindFor(workload);
    if (workload.isSteady()) {
      for (Candidate candidate : servers.keySet()) {
        if (candidate.jit() && candidate.takesPart(socket, workload)) {
          run(candidate, workload, STEADY_WARM_UP);
        }
      }
    }
    Length length = workload.isSteady() ? STEADY : MEASURED;
    measure(workload, length, rounds, candidate -> candidate.takesPart(socket, workload))
        .forEach((candidate, samples) -> report.add(socket, workload, candidate, samples));
    report.print(socket, workload);
    bind(ALL_CORES, ALL_CORES);
  }

  private void measure(List<Growth> growths) throws IOException, InterruptedException {
    bind("0", "0");
    for (Growth growth : growths) {
      measure(growth.workload(), OF_GROWTH, ROUNDS_OF_GROWTH, growth::isFor)
          .forEach((candidate, samples) -> report.addGrowth(growth, candidate.name(), samples));
    }
    report.printGrowth();
    bind(ALL_CORES, ALL_CORES);
  }

  /** Measures the servers alternately. */
  private Map<Candidate, List<Sample>> measure(
      Workload workload, Length length, int rounds, Predicate<Candidate> takesPart)
      throws IOException {
    Map<Candidate, List<Sample>> samples = new LinkedHashMap<>();
    for (int round = 0; round < rounds; round++) {
      for (Candidate candidate : servers.keySet()) {
        if (takesPart.test(candidate) && round < candidate.rounds(rounds)) {
          samples
              .computeIfAbsent(candidate, unused -> new ArrayList<>())
              .add(run(candidate, workload, length));
        }
      }
    }
    return samples;
  }

  private static long maxDescriptors() {
    return ((UnixOperatingSystemMXBean) ManagementFactory.getOperatingSystemMXBean())
        .getMaxFileDescriptorCount();
  }

  private void bindFor(Workload workload) throws IOException, InterruptedException {
    if (workload.eventsPerSecond() > 0) {
      bind(CORES == 1 ? "0" : "1-" + (CORES - 1), "0");
    } else if (workload.mailsPerSecond() == 0) {
      bind("0", "0");
    }
  }

  /** Binds this process and the servers to cores. */
  private void bind(String own, String theirs) throws IOException, InterruptedException {
    bind(ProcessHandle.current().pid(), own);
    for (Server server : servers.values()) {
      bind(server.pid(), theirs);
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
      Path path = WORK.resolve(name + ".sock").toAbsolutePath();
      Files.deleteIfExists(path); // libmilter leaves it behind if it runs as root
      return "unix:" + path;
    }
    try (ServerSocket free = new ServerSocket(0)) {
      return "inet:" + free.getLocalPort() + "@127.0.0.1";
    }
  }
}
