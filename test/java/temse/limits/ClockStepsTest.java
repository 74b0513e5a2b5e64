package temse.limits;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.TimeUnit;
import java.util.stream.Stream;
import org.junit.jupiter.api.Assumptions;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;

/**
 * The clock of the machine is set, for the process of a server: libfaketime shifts the wall clock
 * and leaves the monotonic one alone, as setting the clock does.
 */
@Timeout(120)
class ClockStepsTest {
  private static final long DAY_MILLIS = TimeUnit.DAYS.toMillis(1);
  private static final int DAYS = 1000;

  @TempDir Path directory;

  private static Optional<Path> library() throws IOException {
    try (Stream<Path> files =
        Files.find(
            Path.of("/usr/lib"), 4, (path, file) -> path.endsWith("faketime/libfaketime.so.1"))) {
      return files.findFirst();
    }
  }

  /** Sets the clock of the server so many days off, and returns when the server sees it. */
  private void set(SmallProcess server, int days) throws IOException {
    Path next = Files.writeString(directory.resolve("next"), (days < 0 ? "" : "+") + days + "d\n");
    Files.move(next, directory.resolve("clock"), StandardCopyOption.REPLACE_EXISTING);
    long limit = System.nanoTime() + TimeUnit.SECONDS.toNanos(20);
    while (true) {
      long off = server.ask("clock") - System.currentTimeMillis() - days * DAY_MILLIS;
      if (Math.abs(off) < DAY_MILLIS) {
        return;
      }
      assertTrue(System.nanoTime() < limit, "the clock of the server cannot be set");
    }
  }

  @Test
  void aClockThatIsSetClosesNoConnectionAndStopsNoTimeout() throws Exception {
    Optional<Path> library = library();
    if (library.isEmpty()) {
      Assumptions.abort("libfaketime is not installed");
    }
    Files.writeString(directory.resolve("clock"), "+0d\n");
    Map<String, String> environment =
        Map.of(
            "LD_PRELOAD", library.get().toString(),
            "FAKETIME_TIMESTAMP_FILE", directory.resolve("clock").toString(),
            "FAKETIME_CACHE_DURATION", "1",
            "FAKETIME_DONT_FAKE_MONOTONIC", "1",
            "DONT_FAKE_MONOTONIC", "1");
    try (SmallProcess server =
            new SmallProcess(environment, List.of("-Xmx64m"), "negotiation=1000");
        RawMta mta = RawMta.connect(server.port).negotiate();
        RawMta midPacket = RawMta.connect(server.port).negotiate()) {
      byte[] mail = RawMta.packet('M', "<a@example.org>\0");
      midPacket.sendBytes(Arrays.copyOf(mail, 7));
      for (int days : new int[] {DAYS, -DAYS, 0}) {
        try (RawMta waiting = RawMta.connect(server.port).negotiate();
            RawMta silent = RawMta.connect(server.port)) {
          waiting.sendMessage("<wait>");
          while (server.ask("waiting") == 0) {
            Thread.onSpinWait();
          }
          set(server, days);
          server.ask("release");
          assertEquals('a', waiting.readVerdict());
          assertEquals('a', mta.sendMessage("<a@example.org>").readVerdict());
          assertTrue(silent.awaitClose(), "the time to negotiate is over all the same");
        }
      }
      midPacket.sendBytes(Arrays.copyOfRange(mail, 7, mail.length));
      assertEquals("c", midPacket.readCodes(1), "the packet may end in time");
    }
  }
}
