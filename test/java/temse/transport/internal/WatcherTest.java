package temse.transport.internal;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.lang.management.ManagementFactory;
import java.lang.management.ThreadMXBean;
import java.time.Duration;
import java.util.concurrent.CountDownLatch;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

@Timeout(60)
class WatcherTest {

  @Test
  void parksWhenNothingHappensAndWakesForUserCode() throws Exception {
    CountDownLatch release = new CountDownLatch(1);
    ToyConversation.Handler handler =
        (line, link) -> {
          if (line.equals("block")) {
            release.await();
          }
          return line;
        };
    try (ToyServer toy = new ToyServer(handler);
        ToyServer.Client client = toy.connect();
        ToyServer.Client other = toy.connect()) {
      for (int i = 0; i < 3; i++) {
        assertEquals("x", client.ask("x"));
        ToyServer.await("the watcher is parked", () -> toy.server.watcher().isParked());
      }
      client.send("block\n");
      ToyServer.await("the loop is handed over", () -> toy.server.counters().handOvers() == 1);
      assertEquals("other", other.ask("other"));
      ToyServer.await("the watcher is parked", () -> toy.server.watcher().isParked());
      release.countDown();
      assertEquals("block", client.read());
    }
  }

  @Test
  void sleepsThoughTheGraceIsForEver() throws Exception {
    Duration forEver = Duration.ofSeconds(Long.MAX_VALUE);
    try (ToyServer toy = new ToyServer((line, link) -> line, o -> o.blockGrace(forEver));
        ToyServer.Client client = toy.connect()) {
      assertEquals("x", client.ask("x"));
      Thread watcher =
          Thread.getAllStackTraces().keySet().stream()
              .filter(thread -> thread.getName().equals("toy-watcher"))
              .findAny()
              .orElseThrow();
      ThreadMXBean threads = ManagementFactory.getThreadMXBean();
      long before = threads.getThreadCpuTime(watcher.getId());
      watcher.join(200);
      long used = threads.getThreadCpuTime(watcher.getId()) - before;
      assertTrue(used < 20_000_000, "the watcher used " + used / 1e6 + " ms");
    }
  }

  @Test
  void handsNothingOverWhileUserCodeIsFast() throws Exception {
    try (ToyServer toy =
            new ToyServer((line, link) -> line, o -> o.blockGrace(Duration.ofMillis(500)));
        ToyServer.Client client = toy.connect()) {
      for (int i = 0; i < 1000; i++) {
        assertEquals("x", client.ask("x"));
      }
      assertEquals(0, toy.server.counters().handOvers());
      assertTrue(toy.toys.moves.get() == 0);
    }
  }
}
