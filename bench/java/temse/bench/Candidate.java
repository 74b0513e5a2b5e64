package temse.bench;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Set;
import java.util.stream.Collectors;

/**
 * A milter to measure.
 *
 * @param jit whether it gets faster while it runs
 * @param rounds how often each workload is measured, at most
 * @param sockets kinds of socket that it can serve
 * @param workloads those that it takes part in; empty for all
 * @param command the command line, to which the address is appended
 */
record Candidate(
    String name,
    boolean jit,
    int rounds,
    List<String> sockets,
    Set<Workload> workloads,
    List<String> command) {
  static final String LIBMILTER = "libmilter";
  static final String NULL = "null";
  static final String JAVA = "java";
  static final String CLOJURE = "clojure";

  static final int ROUNDS = 5;

  private static final int ROUNDS_OF_PEERS = 3;
  private static final List<String> BOTH = List.of("tcp", "unix");
  private static final Set<Workload> ALL = Set.of();
  private static final Set<Workload> OF_PEERS =
      Set.of(Workload.W1, Workload.W2, Workload.W3, Workload.W4, Workload.W5, Workload.W6);
  private static final Set<Workload> OF_MESSAGE = Set.of(Workload.W1, Workload.W2, Workload.W4);

  boolean takesPart(String socket, Workload workload) {
    return sockets.contains(socket) && (workloads.isEmpty() || workloads.contains(workload));
  }

  /**
   * Returns all that this machine can run: {@code bin/bench} sets the properties {@code jmilter}, a
   * class path, and {@code pymilter}, a Python interpreter, if there are any.
   *
   * @param programs the directory of the compiled programs
   */
  static List<Candidate> all(Path programs) throws IOException {
    String java = System.getProperty("java.home") + "/bin/java";
    String library =
        Files.readAllLines(Path.of("target/bin/run.classpath")).stream()
            .map(jar -> "target/bin/lib/" + jar)
            .collect(Collectors.joining(":", "target/classes:", ""));
    List<Candidate> all = new ArrayList<>();
    all.add(
        new Candidate(
            LIBMILTER,
            false,
            ROUNDS,
            BOTH,
            ALL,
            List.of(programs.resolve("seen_filter").toString())));
    all.add(
        new Candidate(
            NULL,
            true,
            ROUNDS,
            BOTH,
            ALL,
            List.of(java, "-cp", "target/bench-classes", "temse.bench.NullServer")));
    all.add(
        new Candidate(
            JAVA,
            true,
            ROUNDS,
            BOTH,
            ALL,
            List.of(
                java,
                "-XX:+UseSerialGC",
                "-cp",
                library + ":target/example-classes",
                "SeenFilter")));
    all.add(new Candidate(CLOJURE, true, ROUNDS, BOTH, ALL, temse("seen_filter")));
    all.add(new Candidate("message", true, ROUNDS, BOTH, OF_MESSAGE, temse("seen_message")));
    all.add(new Candidate("whole", true, ROUNDS, BOTH, OF_MESSAGE, temse("seen_whole")));
    all.add(
        new Candidate(
            "whole, java",
            true,
            ROUNDS,
            BOTH,
            OF_MESSAGE,
            List.of(
                java,
                "-XX:+UseSerialGC",
                "-cp",
                library + ":target/example-classes",
                "SeenWhole")));
    String jmilter = System.getProperty("jmilter");
    if (jmilter != null) {
      all.add(
          new Candidate(
              "jmilter",
              true,
              ROUNDS_OF_PEERS,
              List.of("tcp"),
              OF_PEERS,
              List.of(java, "-Djmilter.netty.soBacklog=1024", "-cp", jmilter, "SeenFilter")));
    }
    String pymilter = System.getProperty("pymilter");
    if (pymilter != null) {
      all.add(
          new Candidate(
              "pymilter",
              false,
              ROUNDS_OF_PEERS,
              BOTH,
              OF_PEERS,
              List.of(pymilter, "bench/python/seen_filter.py")));
    }
    return all;
  }

  private static List<String> temse(String example) {
    return List.of("bin/temse", "run", "examples/" + example + ".clj", "--listen");
  }
}
