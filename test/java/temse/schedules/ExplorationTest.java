package temse.schedules;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;
import temse.schedules.sample.Samples;

/** The exploration finds what is wrong, and only that. */
class ExplorationTest {

  private static Exploration exploration(String sample) {
    try {
      return new Exploration(Samples.class.getDeclaredMethod(sample));
    } catch (NoSuchMethodException e) {
      throw new IllegalArgumentException(e);
    }
  }

  private static String failure(String sample) {
    return assertThrows(AssertionError.class, exploration(sample)::explore).getMessage();
  }

  @ParameterizedTest
  @ValueSource(
      strings = {
        "atomicCounter",
        "monitors",
        "timeout",
        "longTimeout",
        "sleepingThreadsWakeInOrder",
        "waitingForAMonitor"
      })
  void passesWhatIsRight(String sample) {
    assertTrue(exploration(sample).explore() > 1);
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      value = {
        "lostUpdateOfField | an update is lost",
        "lostUpdateOfFieldByChance | an update is lost",
        "lostUpdateOfAtomic | an update is lost",
        "checkThenPoll | somebody else has polled it",
        "lostWakeUp | all threads wait",
        "monitorsInAnyOrder | all threads wait",
        "notifyingOneOfTwo | all threads wait",
        "twoCompletions | completed twice",
        "threadThatDies | it dies",
        "threadThatIsLeftBehind | all threads wait",
        "endless | there is no end",
        "unmet | no schedule has met: never",
        "dependsOnMore | depends on something else than the schedule",
        "unsupported | Semaphore.<init> is not woven"
      })
  void findsWhatIsWrong(String sample, String expected) {
    String failure = failure(sample);
    assertTrue(failure.contains(expected), failure);
  }

  @Test
  void failsInTheSameWayEachTime() {
    assertEquals(failure("lostUpdateOfFieldByChance"), failure("lostUpdateOfFieldByChance"));
    assertEquals(failure("lostWakeUp"), failure("lostWakeUp"));
  }

  @Test
  void showsWhatTheThreadsDid() {
    String failure = failure("lostWakeUp");
    assertTrue(failure.contains("thread-1: start, Samples.lambda$lostWakeUp"), failure);
    assertTrue(failure.contains("reads ready"), failure);
  }
}
