package temse.bench;

import java.util.ArrayList;
import java.util.List;
import java.util.Set;
import temse.bench.Workload.Mail;

/**
 * A small mail, again and again, with more and more of one thing.
 *
 * @param over what there is more of
 */
record Growth(String over, int count, Workload workload) {
  private static final int[] COUNTS = {1, 10, 100, 1_000, 10_000};
  private static final int MOST_MACROS = 1_000;
  private static final int MEBIBYTE = 1024 * 1024;
  private static final int[] MEBIBYTES = {1, 4, 16, 64, 256, 1024};
  private static final Set<String> SERVERS =
      Set.of(Candidate.LIBMILTER, Candidate.JAVA, Candidate.CLOJURE);

  /** Beyond so many connections, all of which it polls again and again, libmilter takes minutes. */
  private static final int MOST_FOR_LIBMILTER = 1_000;

  /**
   * Returns the growth over headers, recipients, macros, the body, and as many connections as there
   * may be.
   */
  static List<Growth> all(long maxConnections) {
    List<Growth> all = new ArrayList<>();
    for (int count : COUNTS) {
      all.add(of("headers", count, 1, new Mail(1, count, 0, 0)));
    }
    for (int count : COUNTS) {
      all.add(of("recipients", count, 1, new Mail(count, 1, 0, 0)));
    }
    for (int count : COUNTS) {
      if (count <= MOST_MACROS) {
        all.add(of("macros", count, 1, new Mail(1, 1, count, 0)));
      }
    }
    for (int mebibytes : MEBIBYTES) {
      all.add(of("mebibytes", mebibytes, 1, new Mail(1, 1, 0, mebibytes * MEBIBYTE)));
    }
    for (int count : COUNTS) {
      if (count <= maxConnections) {
        all.add(of("connections", count, count, Mail.SMALLEST));
      } else {
        System.out.printf("%nwithout %d connections: ulimit -n is too low%n", count);
      }
    }
    return all;
  }

  private static Growth of(String over, int count, int connections, Mail mail) {
    return new Growth(over, count, Workload.of(count + " " + over, connections, 0, mail));
  }

  boolean isFor(Candidate candidate) {
    return SERVERS.contains(candidate.name())
        && !(candidate.name().equals(Candidate.LIBMILTER)
            && workload.connections() > MOST_FOR_LIBMILTER);
  }
}
