package temse.server.internal;

import static org.junit.jupiter.api.Assertions.assertEquals;

import java.util.List;
import java.util.Random;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import org.junit.jupiter.api.Test;

/**
 * Thousands of conversations at random with handlers, listeners, values and streams that do and
 * throw anything, Errors too, and whose links are congested, move, and run out of memory.
 *
 * <p>A failure names the seed that repeats it: {@code -Dtemse.seed=…}; {@code -Dtemse.trials=…}
 * says how many follow.
 */
class ModelTest {
  private static final int CONVERSATIONS = 6000;

  @Test
  void whateverFailsEveryReplyIsGivenOnceAndNothingPassesUnseen() {
    long seed = Long.getLong("temse.seed", System.nanoTime());
    int trials = Integer.getInteger("temse.trials", CONVERSATIONS);
    ExecutorService elsewhere = Executors.newSingleThreadExecutor();
    try {
      for (long trial = seed; trial < seed + trials; trial++) {
        ModelTrial conversation = new ModelTrial(new Chaos(new Random(trial)), elsewhere);
        String where = "-Dtemse.seed=" + trial + " fails after ";
        try {
          conversation.run();
        } catch (Throwable e) {
          throw new AssertionError(where + conversation + ": " + e, e);
        }
        assertEquals(List.of(), conversation.broken(), () -> where + conversation);
      }
    } finally {
      elsewhere.shutdownNow();
    }
  }
}
