package temse.transport.internal;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertSame;

import java.io.IOException;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Test;

/** Which failures to accept are reported. The times of the tests are made up. */
class AcceptFailuresTest {
  private static final long SECOND = TimeUnit.SECONDS.toNanos(1);
  private static final IOException PROBLEM = new IOException("Too many open files");
  private static final String MORE =
      "connections cannot always be accepted; failures since the last report: ";

  private final AcceptFailures failures = new AcceptFailures();
  private final List<String> reports = new ArrayList<>();
  private long now;

  private void note(IOException report) {
    if (report != null) {
      reports.add(now / SECOND + ": " + report.getMessage());
    }
  }

  private void failTenTimesASecond(int seconds) {
    for (int i = 0; i < 10 * seconds; i++) {
      note(failures.add(PROBLEM, now));
      now += SECOND / 10;
      note(failures.look(now));
    }
  }

  @Test
  void theFirstIsReportedAsItIsAndThoseThatFollowAtOnceAreNot() {
    assertSame(PROBLEM, failures.add(PROBLEM, now));
    assertNull(failures.add(PROBLEM, now + 1));
    assertNull(failures.add(PROBLEM, now + 59 * SECOND));
  }

  @Test
  void whileTheyLastTheirNumberIsReportedOnceAMinuteAndTheirEndOnce() {
    failTenTimesASecond(150);
    for (int i = 0; i < 300; i++) {
      now += SECOND;
      note(failures.look(now));
    }
    assertEquals(
        List.of(
            "0: Too many open files",
            "60: " + MORE + "600, the last one: " + PROBLEM,
            "120: " + MORE + "600, the last one: " + PROBLEM,
            "210: connections have been accepted again for a minute; failures since the last"
                + " report: 299"),
        reports);
  }

  @Test
  void afterTheirEndTheNextIsAFirstOneAgain() {
    failTenTimesASecond(1);
    now += 60 * SECOND;
    note(failures.look(now));
    failTenTimesASecond(1);
    assertEquals(List.of("0", "61", "61"), reports.stream().map(r -> r.split(":")[0]).toList());
    assertEquals("61: Too many open files", reports.get(2));
  }

  @Test
  void itIsLookedForTheirEndAMinuteAfterTheLast() {
    assertEquals(Long.MAX_VALUE, failures.nextLook());
    failures.add(PROBLEM, 5);
    failures.add(PROBLEM, 7);
    assertEquals(7 + AcceptFailures.INTERVAL, failures.nextLook());
    assertNull(failures.look(6 + AcceptFailures.INTERVAL));
    failures.look(7 + AcceptFailures.INTERVAL);
    assertEquals(Long.MAX_VALUE, failures.nextLook());
  }
}
