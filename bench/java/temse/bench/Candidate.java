package temse.bench;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Set;
import java.util.stream.Collectors;
import java.util.stream.Stream;

/**
 * A milter to measure.
 *
 * @param jit whether it gets faster while it runs
 * @param silent whether it replies at the end of a message only
 * @param peer whether it is a peer, which is measured in fewer rounds
 * @param sockets kinds of socket that it can serve
 * @param workloads those that it takes part in; empty for all
 * @param command the command line, to which the address is appended
 */
record Candidate(
    String name,
    boolean jit,
    boolean silent,
    boolean peer,
    List<String> sockets,
    Set<Workload> workloads,
    List<String> command) {
  static final String LIBMILTER = "libmilter";
  static final String NULL = "null";
  static final String SILENT_NULL = "silent-null";
  static final String JAVA = "java";
  static final String CLOJURE = "clojure";

  private static final String BEFORE = "-before";
  private static final String JVM = System.getProperty("java.home") + "/bin/java";
  private static final int ROUNDS_OF_PEERS = 3;
  private static final List<String> BOTH = List.of("tcp", "unix");
  private static final Set<Workload> ALL = Set.of();
  private static final Set<Workload> OF_PEERS =
      Set.of(Workload.W1, Workload.W2, Workload.W3, Workload.W4, Workload.W5, Workload.W6);
  private static final Set<Workload> OF_SILENT = Set.of(Workload.W1, Workload.W2, Workload.W4);

  /** Returns the name of the null server that replies to as much as this does. */
  String floor() {
    return silent ? SILENT_NULL : NULL;
  }

  /** Returns the name of the same filter in another checkout. */
  String before() {
    return name + BEFORE;
  }

  boolean takesPart(String socket, Workload workload) {
    return sockets.contains(socket) && (workloads.isEmpty() || workloads.contains(workload));
  }

  /** Returns how often a workload is measured that is measured so often for most servers. */
  int rounds(int most) {
    return peer ? Math.min(ROUNDS_OF_PEERS, most) : most;
  }

  /**
   * Returns all that this machine can run: {@code bin/bench} sets the properties {@code jmilter}, a
   * class path, and {@code pymilter}, a Python interpreter, if there are any.
   *
   * @param programs the directory of the compiled programs
   */
  static List<Candidate> all(Path programs) throws IOException {
    List<Candidate> all = new ArrayList<>();
    all.add(
        new Candidate(
            LIBMILTER,
            false,
            false,
            false,
            BOTH,
            ALL,
            List.of(programs.resolve("seen_filter").toString())));
    all.addAll(floors());
    all.addAll(ofCheckout(Path.of(""), ""));
    String jmilter = System.getProperty("jmilter");
    if (jmilter != null) {
      all.add(
          new Candidate(
              "jmilter",
              true,
              false,
              true,
              List.of("tcp"),
              OF_PEERS,
              List.of(JVM, "-Djmilter.netty.soBacklog=1024", "-cp", jmilter, "SeenFilter")));
    }
    String pymilter = System.getProperty("pymilter");
    if (pymilter != null) {
      all.add(
          new Candidate(
              "pymilter",
              false,
              false,
              true,
              BOTH,
              OF_PEERS,
              List.of(pymilter, "bench/python/seen_filter.py")));
    }
    return all;
  }

  /** Returns the names of the filters that are written with temse. */
  static List<String> filters() throws IOException {
    return ofCheckout(Path.of(""), "").stream().map(Candidate::name).toList();
  }

  /**
   * Returns some of temse's filters and the null servers.
   *
   * @param names of the filters
   * @param other another checkout whose filters are to be there as well, or null
   */
  static List<Candidate> some(Set<String> names, Path other) throws IOException {
    List<Candidate> filters = new ArrayList<>(ofCheckout(Path.of(""), ""));
    if (other != null) {
      filters.addAll(ofCheckout(other, BEFORE));
    }
    filters.removeIf(filter -> !names.contains(filter.name.replace(BEFORE, "")));
    Set<String> floors = filters.stream().map(Candidate::floor).collect(Collectors.toSet());
    List<Candidate> some = new ArrayList<>(floors());
    some.removeIf(floor -> !floors.contains(floor.name));
    some.addAll(filters);
    return some;
  }

  private static List<Candidate> floors() {
    List<String> floor = List.of(JVM, "-cp", "target/bench-classes", "temse.bench.NullServer");
    return List.of(answering(NULL, floor), silent(SILENT_NULL, and(floor, "silent")));
  }

  /** Returns the filters written with temse of a checkout, their names with this behind them. */
  private static List<Candidate> ofCheckout(Path root, String suffix) throws IOException {
    List<String> jars = Files.readAllLines(root.resolve("target/bin/run.classpath"));
    String library =
        Stream.concat(
                Stream.of("target/classes", "target/example-classes"),
                jars.stream().map(jar -> "target/bin/lib/" + jar))
            .map(path -> root.resolve(path).toString())
            .collect(Collectors.joining(":"));
    List<String> example = List.of(JVM, "-XX:+UseSerialGC", "-Xmn64m", "-cp", library);
    return List.of(
        answering(JAVA + suffix, and(example, "SeenFilter")),
        answering(CLOJURE + suffix, temse(root, "seen_filter")),
        silent("message" + suffix, temse(root, "seen_message")),
        silent("whole" + suffix, temse(root, "seen_whole")),
        silent("whole-java" + suffix, and(example, "SeenWhole")));
  }

  private static Candidate answering(String name, List<String> command) {
    return new Candidate(name, true, false, false, BOTH, ALL, command);
  }

  private static Candidate silent(String name, List<String> command) {
    return new Candidate(name, true, true, false, BOTH, OF_SILENT, command);
  }

  private static List<String> and(List<String> command, String argument) {
    return Stream.concat(command.stream(), Stream.of(argument)).toList();
  }

  private static List<String> temse(Path root, String example) {
    return List.of(
        root.resolve("bin/temse").toString(),
        "run",
        root.resolve("examples/" + example + ".clj").toString(),
        "--listen");
  }
}
