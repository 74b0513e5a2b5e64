package temse.transport.internal;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.time.Duration;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CountDownLatch;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import temse.transport.TransportOptions;

/** How long a stop may take, and what it leaves. */
@Timeout(60)
class StopTest {
  private static final Duration FOR_EVER = Duration.ofSeconds(Long.MAX_VALUE, 999_999_999);

  @Test
  void refusesWhatIsNoGraceAndGoesOnServing() throws Exception {
    try (ToyServer toy = new ToyServer((line, link) -> line);
        ToyServer.Client client = toy.connect()) {
      for (Duration wrong : new Duration[] {null, Duration.ofNanos(-1), FOR_EVER.negated()}) {
        IllegalArgumentException e =
            assertThrows(IllegalArgumentException.class, () -> toy.server.stop(wrong));
        assertTrue(e.getMessage().startsWith("the grace must not be"), e.getMessage());
        assertEquals("x", client.ask("x"));
      }
      toy.server.close();
      assertNull(client.read());
      toy.server.join();
      toy.assertOrderly();
    }
  }

  @Test
  void refusesDurationsThatMakeNoSenseWhereTheyAreGiven() {
    TransportOptions.Builder builder = TransportOptions.builder();
    for (Duration wrong : new Duration[] {null, Duration.ZERO, Duration.ofSeconds(-1)}) {
      for (TransportOptions.Builder changed :
          List.of(
              TransportOptions.builder().blockGrace(wrong),
              TransportOptions.builder().writeTimeout(wrong),
              TransportOptions.builder().maxBlockedWait(wrong))) {
        String message = assertThrows(IllegalArgumentException.class, changed::build).getMessage();
        assertTrue(message.matches("(blockGrace|writeTimeout|maxBlockedWait) must be .*"), message);
      }
    }
    builder.blockGrace(FOR_EVER).writeTimeout(FOR_EVER).maxBlockedWait(FOR_EVER).build();
  }

  @Test
  void durationsThatAreTooLongAreForEver() throws Exception {
    assertEquals(Long.MAX_VALUE, Nanos.of("x", FOR_EVER));
    assertEquals(Long.MAX_VALUE - 1, Nanos.of("x", Duration.ofNanos(Long.MAX_VALUE - 1)));
    assertEquals(Long.MAX_VALUE, Nanos.after(1, Long.MAX_VALUE));
    assertEquals(-1, Nanos.after(-5, 4));
    String large = "x".repeat(20_000_000);
    try (ToyServer toy =
            new ToyServer(
                (line, link) -> {
                  Thread.sleep(5);
                  return large;
                },
                o -> o.writeTimeout(FOR_EVER).maxBlockedWait(FOR_EVER).loops(1).maxBlocked(1));
        ToyServer.Client first = toy.connect();
        ToyServer.Client second = toy.connect()) {
      for (ToyServer.Client client : List.of(first, second, first, second)) {
        assertEquals(large, client.ask("large"));
      }
      toy.assertOrderly();
    }
  }

  @Test
  void aSecondStopMayShortenTheFirstButNotLengthenIt() throws Exception {
    CountDownLatch inside = new CountDownLatch(1);
    ToyServer toy =
        new ToyServer(
            (line, link) -> {
              inside.countDown();
              return new CompletableFuture<String>();
            });
    try (ToyServer.Client client = toy.connect().send("x\n")) {
      ToyServer.await(inside);
      Thread first = new Thread(() -> toy.server.stop(FOR_EVER));
      first.start();
      ToyServer.await("the loop knows", () -> toy.server.loops()[0].isStopping());
      Thread longer = new Thread(() -> toy.server.stop(FOR_EVER));
      longer.start();
      longer.join(50);
      assertTrue(first.isAlive() && longer.isAlive());
      assertEquals(0, toy.toys.ended.get());
      toy.server.stop(Duration.ofMillis(10));
      assertNull(client.read());
      first.join();
      longer.join();
      assertEquals(List.of(Conversation.End.STOPPED), List.copyOf(toy.toys.ends));
      toy.assertOrderly();
    }
  }

  @Test
  void aStopFromAHandlerMayShortenToo() throws Exception {
    CompletableFuture<SocketServer> server = new CompletableFuture<>();
    CountDownLatch inside = new CountDownLatch(2);
    ToyServer toy =
        new ToyServer(
            (line, link) -> {
              inside.countDown();
              if (line.equals("stop")) {
                ToyServer.await("the first stop", () -> !server.join().isListening());
                server.join().stop(Duration.ZERO);
                return "stopped";
              }
              return new CompletableFuture<String>();
            });
    server.complete(toy.server);
    try (ToyServer.Client pending = toy.connect().send("wait\n");
        ToyServer.Client stopping = toy.connect()) {
      stopping.send("stop\n");
      ToyServer.await(inside);
      Thread first = new Thread(() -> toy.server.stop(FOR_EVER));
      first.start();
      first.join(20_000);
      assertFalse(first.isAlive());
      assertNull(pending.read());
      toy.assertOrderly();
    }
  }

  @Test
  void closesTheSocketsOfEveryHandlerThatIgnoresTheStopAndReportsTheThreads() throws Exception {
    CountDownLatch release = new CountDownLatch(1);
    CountDownLatch inside = new CountDownLatch(3);
    ToyServer toy =
        new ToyServer(
            (line, link) -> {
              link.output().put("half".getBytes());
              inside.countDown();
              while (release.getCount() > 0) {
                try {
                  release.await();
                } catch (InterruptedException e) {
                  // Stubborn.
                }
              }
              return line;
            },
            options -> options.loops(1));
    try (ToyServer.Client one = toy.connect().send("x\n");
        ToyServer.Client two = toy.connect().send("x\n");
        ToyServer.Client three = toy.connect().send("x\n")) {
      ToyServer.await(inside);
      toy.server.stop(Duration.ofMillis(10));
      for (ToyServer.Client client : List.of(one, two, three)) {
        assertNull(client.read());
      }
      assertEquals(1, toy.listener.leftBehind.size());
      assertEquals(3, toy.listener.leftBehind.peek().size());
      assertEquals(0, toy.toys.ended.get());
      release.countDown();
      ToyServer.await("all have ended", () -> toy.toys.ended.get() == 3);
      ToyServer.await("none is counted", () -> toy.server.connections() == 0);
      toy.assertOrderly();
    }
  }

  @Test
  void closesTheSocketsOfALoopThatCannotLeaveItsThread() throws Exception {
    CountDownLatch release = new CountDownLatch(1);
    CountDownLatch inside = new CountDownLatch(1);
    ToyServer toy =
        new ToyServer(
            (line, link) -> {
              if (line.equals("block")) {
                inside.countDown();
                while (release.getCount() > 0) {
                  try {
                    release.await();
                  } catch (InterruptedException e) {
                    // Stubborn.
                  }
                }
              }
              return line;
            },
            options -> options.loops(1).blockGrace(FOR_EVER));
    try (ToyServer.Client other = toy.connect();
        ToyServer.Client client = toy.connect()) {
      assertEquals("x", other.ask("x"));
      client.send("block\n");
      ToyServer.await(inside);
      toy.server.stop(Duration.ofMillis(10));
      assertNull(client.read());
      assertNull(other.read());
      assertThrows(IOException.class, toy::connect);
      assertEquals(List.of(List.of("toy-loop-0")), List.copyOf(toy.listener.leftBehind));
      release.countDown();
      ToyServer.await("both have ended", () -> toy.toys.ended.get() == 2);
      toy.assertOrderly();
    }
  }
}
