package temse.transport.internal;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import java.util.concurrent.Callable;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.locks.LockSupport;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** Nothing is lost, doubled or mixed up, whenever a loop leaves its thread. */
@Timeout(60)
class HandOverTest {
  private static final int CLIENTS = 12;
  private static final int REQUESTS = 400;

  @Test
  void aTakeOverThatComesTooLateChangesNothing() throws Exception {
    CountDownLatch inside = new CountDownLatch(1);
    CountDownLatch release = new CountDownLatch(1);
    ToyConversation.Handler handler =
        (line, link) -> {
          if (line.equals("block")) {
            inside.countDown();
            release.await();
          }
          return line;
        };
    try (ToyServer toy = new ToyServer(handler, o -> o.loops(1).blockGrace(Duration.ofHours(1)));
        ToyServer.Client client = toy.connect();
        ToyServer.Client other = toy.connect()) {
      EventLoop loop = toy.server.loops()[0];
      Spares spares = toy.server.spares();
      client.send("block\n");
      ToyServer.await(inside);
      long odd = loop.turn().count();
      assertTrue(Turn.isInUserCode(odd));
      assertTrue(spares.hold(() -> loop.takeOver(odd)));
      assertEquals("other", other.ask("other"));
      assertEquals(1, toy.server.counters().handOvers());
      assertTrue(spares.hold(() -> loop.takeOver(odd)));
      assertEquals("other", other.ask("other"));
      release.countDown();
      assertEquals("block", client.read());
      assertTrue(spares.hold(() -> loop.takeOver(odd)));
      assertEquals("again", client.ask("again"));
      assertEquals(1, toy.server.counters().handOvers());
      toy.assertOrderly();
    }
  }

  /**
   * Handlers wait for about the grace, or compute for about four times as long, so that hand-overs
   * fall at all moments.
   */
  @ParameterizedTest
  @ValueSource(longs = {1_000, 20_000, 100_000, 1_000_000})
  void answersEveryRequestOnceAndInOrderWhenHandlersRunForAboutTheGrace(long grace)
      throws Exception {
    ToyConversation.Handler handler =
        (line, link) -> {
          long time = Long.parseLong(line.substring(line.lastIndexOf(' ') + 1));
          if (time % 5 == 0) {
            return CompletableFuture.supplyAsync(() -> line);
          }
          if (time % 2 == 0) {
            LockSupport.parkNanos(time);
          } else {
            spin(4 * time);
          }
          return line;
        };
    try (ToyServer toy =
        new ToyServer(handler, o -> o.loops(2).maxBlocked(8).blockGrace(Duration.ofNanos(grace)))) {
      ExecutorService clients = Executors.newFixedThreadPool(CLIENTS);
      try {
        List<Future<Void>> results = new ArrayList<>();
        for (int i = 0; i < CLIENTS; i++) {
          int seed = i;
          results.add(clients.submit(client(toy, new Random(seed), grace)));
        }
        for (Future<Void> result : results) {
          result.get(50, TimeUnit.SECONDS);
        }
      } finally {
        clients.shutdownNow();
      }
      ToyServer.await("all have ended", () -> toy.server.connections() == 0);
      assertEquals(toy.toys.opened.get(), toy.toys.ended.get());
      if (grace <= 100_000) {
        assertTrue(toy.server.counters().handOvers() > 0, "there were hand-overs");
      }
      toy.assertOrderly();
    }
  }

  private static void spin(long nanos) {
    for (long end = System.nanoTime() + nanos; System.nanoTime() < end; ) {
      Thread.onSpinWait();
    }
  }

  private static Callable<Void> client(ToyServer toy, Random random, long grace) {
    return () -> {
      int sent = 0;
      while (sent < REQUESTS) {
        try (ToyServer.Client client = toy.connect()) {
          for (int burst = 0; burst < 10; burst++) {
            sent += exchange(client, random, grace);
          }
        }
      }
      return null;
    };
  }

  private static int exchange(ToyServer.Client client, Random random, long grace)
      throws IOException {
    int length = 1 + random.nextInt(5);
    List<String> lines = new ArrayList<>();
    for (int i = 0; i < length; i++) {
      char kind = (char) ('a' + random.nextInt(4));
      long time = Math.min(200_000, (long) (2 * grace * random.nextDouble() * random.nextDouble()));
      lines.add(kind + " " + random.nextInt() + " " + time);
    }
    client.send(String.join("\n", lines) + "\n");
    for (String line : lines) {
      assertEquals(line, client.read());
    }
    return length;
  }
}
