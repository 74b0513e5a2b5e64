package temse.limits;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.nio.file.Path;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;

/** More of bodies at once than there is memory; {@link WholeMessages} does it at full size. */
@Timeout(120)
class WholeMessagesTest {
  @Test
  void largeMessagesAtOnceAreServedAndLeaveNoFile(@TempDir Path directory) throws Exception {
    WholeMessages.Outcome outcome = WholeMessages.run(30, 4, "48m", directory);
    assertEquals(30, outcome.served());
    assertEquals(0, outcome.left());
    assertTrue(outcome.leftByKill() >= 1, "the one that was put there");
    assertEquals(0, outcome.leftAfterRestart());
  }
}
