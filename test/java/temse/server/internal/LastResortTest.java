package temse.server.internal;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNull;

import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicLong;
import org.junit.jupiter.api.Test;

/** What stderr gets when logging fails. */
class LastResortTest {
  private final AtomicLong now = new AtomicLong(Long.MAX_VALUE - 5);
  private final LinkedBlockingQueue<String> lines = new LinkedBlockingQueue<>();
  private volatile Thread writer;

  @Test
  void oneFailureInTenSecondsIsReportedAndTheOthersAreCounted() throws InterruptedException {
    LastResort resort = new LastResort(this::keep, now::get);
    resort.take("logging", new IllegalStateException("no\u001b[31m luck"));
    assertEquals(
        "temse: logging failed: java.lang.IllegalStateException: no\\u001b[31m luck", next());
    resort.take("logging", new Error());
    resort.take("logging", new Error());
    now.addAndGet(LastResort.QUIET_NANOS - 1);
    resort.take("logging", new Error());
    assertNull(lines.poll());
    now.incrementAndGet();
    resort.take("recording", new Error("again"));
    assertEquals(
        "temse: recording failed: java.lang.Error: again (3 failures before it were not reported)",
        next());
  }

  @Test
  void aFailureWhoseTextFailsAndAStreamThatFailsDisturbNobody() throws InterruptedException {
    LastResort broken =
        new LastResort(
            line -> {
              keep(line);
              throw new IllegalStateException("closed");
            },
            now::get);
    broken.take(
        null,
        new RuntimeException() {
          @Override
          public String toString() {
            throw new StackOverflowError();
          }
        });
    assertEquals(true, next().contains("whose toString fails"));
    LastResort.report("a test", null);
  }

  /** Returns the next line, when its thread has ended. */
  private String next() throws InterruptedException {
    String line = lines.poll(10, TimeUnit.SECONDS);
    writer.join(10_000);
    return line;
  }

  private boolean keep(String line) {
    writer = Thread.currentThread();
    return lines.add(line);
  }
}
