package temse.transport.internal;

import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import org.junit.jupiter.api.Test;

class SuspicionTest {

  @Test
  void endsAfterManyFastRunsInARow() {
    Suspicion suspicion = new Suspicion(1000, () -> false);
    assertFalse(suspicion.of(63));
    suspicion.raise(63);
    for (int i = 0; i < 31; i++) {
      suspicion.ran(63, 999);
    }
    assertTrue(suspicion.of(63));
    suspicion.ran(63, 1000);
    for (int i = 0; i < 31; i++) {
      suspicion.ran(63, 0);
    }
    assertTrue(suspicion.of(63));
    assertFalse(suspicion.of(62));
    suspicion.ran(63, 0);
    assertFalse(suspicion.of(63));
  }
}
