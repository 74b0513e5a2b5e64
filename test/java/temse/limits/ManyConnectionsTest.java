package temse.limits;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** {@link ManyConnections} with a load that is over soon. */
@Timeout(120)
class ManyConnectionsTest {
  private static final long EACH_AT_MOST = 16 * 1024;

  @Test
  void mailIsServedBeside5000IdleAnd200DribblingConnections() throws Exception {
    ManyConnections.Outcome outcome = ManyConnections.run(5000, 200, 2, 1000);
    System.out.println(outcome);
    assertEquals(1000, outcome.accepted());
    assertEquals(5200, outcome.open(), "none of them is in the way, and none is closed early");
    assertTrue(outcome.bytesEach() < EACH_AT_MOST, outcome::toString);
  }
}
