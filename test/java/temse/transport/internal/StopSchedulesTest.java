package temse.transport.internal;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.time.Duration;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CountDownLatch;
import temse.schedules.MemoryClient;
import temse.schedules.Met;
import temse.schedules.Network;
import temse.schedules.Pick;
import temse.schedules.Schedules;

/** A server that stops while user code runs, values come, time passes and connections open. */
class StopSchedulesTest {
  private static final Duration LONG = Duration.ofMinutes(1);

  /** Nanoseconds after which nobody waits any more. */
  private static final long LATE = 5_000_000_000L;

  private static final Duration SHORT = Duration.ofMillis(500);

  private static ToyServer serve(ToyConversation.Handler handler) throws IOException {
    return new ToyServer(handler, options -> options.loops(Pick.of(1, 2)));
  }

  /** Stops; what waits for nothing must not use up a long grace. */
  private static void stop(ToyServer toy, Duration grace) {
    long start = System.nanoTime();
    toy.server.stop(grace);
    if (grace == LONG) {
      assertTrue(System.nanoTime() - start < SHORT.toNanos(), "it stops as soon as it can");
    }
  }

  /** What holds when a server has stopped and all its user code has returned. */
  private static void assertOver(ToyServer toy) {
    toy.assertOrderly();
    assertEquals(0, toy.server.connections());
    assertEquals(toy.toys.opened.get(), toy.toys.ended.get());
    assertEquals(toy.listener.opened.size(), toy.listener.closed.size());
  }

  @Schedules(
      random = 600,
      meeting = {"answered", "closed"})
  void workInProgressIsFinishedWithinTheGrace() throws Exception {
    CountDownLatch inside = new CountDownLatch(1);
    ToyServer toy =
        serve(
            (line, link) -> {
              inside.countDown();
              Thread.sleep(3);
              return line;
            });
    MemoryClient client = Network.connect(toy.port());
    client.send("x\ny\n");
    boolean began = Pick.of(true, false);
    if (began) {
      inside.await();
    }
    Thread stopping = new Thread(() -> stop(toy, LONG));
    stopping.start();
    String answer = client.readLine();
    assertTrue(answer == null && !began || "x".equals(answer), answer);
    Met.met(answer == null ? "closed" : "answered");
    stopping.join();
    assertOver(toy);
  }

  /** While it drains, connections are served as before, and it ends with the last of them. */
  @Schedules(
      random = 600,
      meeting = {"refused", "served", "drained", "cut"})
  void connectionsGoOnWhileItDrains() throws Exception {
    ToyServer toy = serve((line, link) -> line);
    int port = toy.port();
    MemoryClient idle = Network.connect(port);
    boolean leaves = Pick.of(true, false);
    Thread stopping =
        new Thread(() -> toy.server.stop(leaves ? LONG : Duration.ofMillis(20), Duration.ZERO));
    stopping.start();
    Thread other = new Thread(() -> ask(port));
    other.start();
    for (int i = 0; i < 3; i++) {
      idle.send("x\n");
      String answer = idle.readLine();
      assertTrue("x".equals(answer) || answer == null && !leaves, answer);
      Met.met(answer == null ? "cut" : "served");
    }
    other.join();
    if (leaves) {
      idle.close();
      Met.met("drained");
    }
    stopping.join();
    assertOver(toy);
  }

  @Schedules(
      random = 600,
      meeting = {"InterruptedException"})
  void blockedUserCodeIsInterruptedAfterTheGrace() throws Exception {
    CountDownLatch inside = new CountDownLatch(2);
    ToyServer toy =
        serve(
            (line, link) -> {
              inside.countDown();
              new CountDownLatch(1).await();
              return line;
            });
    MemoryClient one = Network.connect(toy.port());
    MemoryClient other = Network.connect(toy.port());
    one.send("x\n");
    other.send("y\n");
    inside.await();
    stop(toy, Pick.of(Duration.ZERO, Duration.ofMillis(10)));
    Met.met(String.valueOf(one.readLine()));
    assertOver(toy);
  }

  /** Threads that are left behind end their connections when their user code returns after all. */
  @Schedules(
      random = 500,
      meeting = {"0 left behind", "1 left behind", "2 left behind"})
  void userCodeThatIgnoresTheStopEndsItsConnectionLater() throws Exception {
    ToyServer toy =
        serve(
            (line, link) -> {
              long until = System.nanoTime() + Pick.of(LATE, LATE / 10);
              while (System.nanoTime() < until) {
                try {
                  Thread.sleep(1 + (until - System.nanoTime()) / 1_000_000);
                } catch (InterruptedException ignored) {
                  Met.met("interrupted");
                }
              }
              return line;
            });
    MemoryClient one = Network.connect(toy.port());
    MemoryClient other = Network.connect(toy.port());
    one.send("x\n");
    other.send("y\n");
    Thread.sleep(Pick.of(1, 5));
    stop(toy, Pick.of(Duration.ZERO, Duration.ofMillis(10)));
    Met.met(toy.server.connections() + " left behind");
    Thread.sleep(2 * LATE / 1_000_000);
    assertOver(toy);
  }

  @Schedules(
      random = 600,
      meeting = {"value", "none"})
  void aValueComesOrNotBeforeTheEnd() throws Exception {
    CompletableFuture<String> value = new CompletableFuture<>();
    ToyServer toy =
        serve(
            (line, link) -> {
              Thread.sleep(2);
              return value;
            });
    MemoryClient client = Network.connect(toy.port());
    client.send("x\n");
    boolean comes = Pick.of(true, false);
    if (comes) {
      new Thread(() -> value.complete("value")).start();
    }
    if (Pick.of(true, false)) {
      client.close();
    }
    stop(toy, Pick.of(Duration.ZERO, Duration.ofMillis(1), comes ? LONG : SHORT));
    String answer = client.readLine();
    Met.met(answer == null ? "none" : answer);
    assertOver(toy);
  }

  @Schedules(
      random = 600,
      meeting = {"x", "y", "expired", "closed"})
  void valuesComeWhileTheirTimeIsUpAndThePeerGoes() throws Exception {
    ToyServer toy =
        serve(
            (line, link) -> {
              Thread.sleep(Pick.of(0, 2));
              CompletableFuture<String> value = new CompletableFuture<>();
              new Thread(() -> value.complete(line)).start();
              return value;
            });
    toy.toys.timeout = 1_000_000;
    MemoryClient client = Network.connect(toy.port());
    client.send("x\ny\n");
    int answers = Pick.number(3);
    for (int i = 0; i < answers; i++) {
      String answer = client.readLine();
      assertTrue(List.of("x", "y", "expired").contains(answer), answer);
      Met.met(answer);
    }
    if (answers == 2) {
      client.send("quit\n");
      assertEquals(null, client.readLine(), "one answer each");
    } else {
      client.close();
      Met.met("closed");
    }
    stop(toy, LONG);
    assertOver(toy);
  }

  @Schedules(
      random = 600,
      meeting = {"refused", "closed", "answered"})
  void connectionsThatOpenMeanwhileAreServedOrClosed() throws Exception {
    ToyServer toy = serve((line, link) -> line);
    int port = toy.port();
    Thread[] clients = new Thread[2];
    for (int i = 0; i < clients.length; i++) {
      clients[i] = new Thread(() -> ask(port));
      clients[i].start();
    }
    stop(toy, Pick.of(Duration.ZERO, LONG));
    for (Thread client : clients) {
      client.join();
    }
    assertOver(toy);
  }

  private static void ask(int port) {
    try (MemoryClient client = Network.connect(port)) {
      client.send("x\n");
      String answer = client.readLine();
      assertTrue(answer == null || answer.equals("x"), answer);
      Met.met(answer == null ? "closed" : "answered");
      assertEquals(null, client.readLine(), "the server ends the connection");
    } catch (IOException e) {
      Met.met("refused");
    }
  }

  @Schedules(
      random = 500,
      meeting = {"stopped by user code"})
  void severalThreadsStopItAtOnce() throws Exception {
    ToyServer[] self = new ToyServer[1];
    CountDownLatch known = new CountDownLatch(1);
    ToyServer toy =
        serve(
            (line, link) -> {
              known.await();
              self[0].server.stop(LONG);
              Met.met("stopped by user code");
              return line;
            });
    self[0] = toy;
    known.countDown();
    MemoryClient client = Network.connect(toy.port());
    client.send("x\n");
    Thread other = new Thread(() -> stop(toy, LONG));
    other.start();
    if (Pick.of(true, false)) {
      stop(toy, Pick.of(Duration.ZERO, LONG));
    }
    toy.server.join();
    other.join();
    assertOver(toy);
  }

  /** What runs at the end may block; its connection is given to another thread then. */
  @Schedules(
      random = 500,
      meeting = {"2 ended"})
  void userCodeAtTheEndBlocksWhileTheServerStops() throws Exception {
    ToyServer toy = serve((line, link) -> line);
    toy.toys.atEnd =
        () -> {
          try {
            Thread.sleep(2);
          } catch (InterruptedException e) {
            Met.met("interrupted at the end");
          }
        };
    MemoryClient one = Network.connect(toy.port());
    MemoryClient other = Network.connect(toy.port());
    one.send("x\nquit\n");
    other.send("x\n");
    assertEquals("x", one.readLine());
    assertEquals("x", other.readLine());
    stop(toy, Pick.of(Duration.ZERO, LONG));
    Met.met(toy.toys.ended.get() + " ended");
    assertOver(toy);
  }
}
