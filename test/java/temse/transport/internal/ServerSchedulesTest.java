package temse.transport.internal;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.time.Duration;
import java.util.concurrent.CountDownLatch;
import java.util.function.UnaryOperator;
import temse.schedules.MemoryClient;
import temse.schedules.Met;
import temse.schedules.Network;
import temse.schedules.Pick;
import temse.schedules.Schedules;
import temse.transport.TransportOptions;

/**
 * A whole server on sockets in memory, whose loops leave their threads to user code. What a server
 * owes is checked by {@link ToyServer} and its conversations; that all threads end, by the
 * schedule.
 */
class ServerSchedulesTest {
  private static final Duration LONG = Duration.ofMinutes(1);

  private static ToyServer serve(
      ToyConversation.Handler handler, UnaryOperator<TransportOptions.Builder> more)
      throws IOException {
    return new ToyServer(handler, options -> more.apply(options.loops(1)));
  }

  private static void stop(ToyServer toy, int conversations) {
    toy.server.stop(LONG);
    toy.assertOrderly();
    assertEquals(0, toy.server.connections());
    assertEquals(conversations, toy.toys.ended.get());
    assertEquals(conversations, toy.listener.closed.size());
    SocketServer.Counters counters = toy.server.counters();
    Met.met(counters.handOvers() + " handed over");
    Met.met(counters.lent() + " lent");
    Met.met(counters.waits() + " waited");
  }

  @Schedules(
      random = 600,
      meeting = {"0 handed over", "1 handed over", "0 lent", "1 lent"})
  void everyRequestIsAnsweredOnceAndInOrder() throws Exception {
    ToyServer toy = serve((line, link) -> line, options -> options);
    MemoryClient one = Network.connect(toy.port());
    MemoryClient other = Network.connect(toy.port());
    one.send("a\nb\n");
    other.send("c\n");
    assertEquals("a", one.readLine());
    assertEquals("c", other.readLine());
    other.send("d\n");
    assertEquals("b", one.readLine());
    assertEquals("d", other.readLine());
    stop(toy, 2);
  }

  /** Kinds of user code are suspected one by one, so each of them may be caught blocking. */
  @Schedules(
      random = 600,
      meeting = {"1 handed over", "2 handed over"})
  void aLoopIsHandedOverAgainAndAgain() throws Exception {
    ToyServer toy =
        serve(
            (line, link) -> {
              Thread.sleep(2);
              return line;
            },
            options -> options);
    MemoryClient[] clients = new MemoryClient[3];
    for (int i = 0; i < clients.length; i++) {
      clients[i] = Network.connect(toy.port());
      clients[i].send((char) ('a' + i) + "\n" + (char) ('a' + i) + "x\n");
    }
    for (int i = 0; i < clients.length; i++) {
      assertEquals("" + (char) ('a' + i), clients[i].readLine());
      assertEquals((char) ('a' + i) + "x", clients[i].readLine());
    }
    stop(toy, clients.length);
  }

  /**
   * The first request blocks until the second has been answered: if the watcher did not notice it,
   * everybody would wait for ever. It parks when nothing has happened for 50 ms, at its next look.
   */
  @Schedules(
      random = 600,
      slack = 20,
      meeting = {"1 handed over"})
  void aBlockedLoopIsNoticedWhetherTheWatcherIsParkedOrNot() throws Exception {
    CountDownLatch answered = new CountDownLatch(1);
    ToyServer toy =
        serve(
            (line, link) -> {
              if (line.equals("block")) {
                answered.await();
              }
              return line;
            },
            options -> options);
    MemoryClient one = Network.connect(toy.port());
    MemoryClient other = Network.connect(toy.port());
    Thread.sleep(40 + 4 * Pick.number(8));
    one.send("block\n");
    other.send("x\n");
    assertEquals("x", other.readLine());
    answered.countDown();
    assertEquals("block", one.readLine());
    stop(toy, 2);
  }

  @Schedules(
      random = 600,
      meeting = {"1 handed over", "1 waited"})
  void connectionsAndLoopsWaitForThreadsThatAreHeld() throws Exception {
    ToyServer toy =
        serve(
            (line, link) -> {
              Thread.sleep(2);
              return line;
            },
            options -> options.maxBlocked(1));
    MemoryClient[] clients = new MemoryClient[3];
    for (int i = 0; i < clients.length; i++) {
      clients[i] = Network.connect(toy.port());
      clients[i].send((char) ('a' + i) + "\n");
    }
    for (int i = 0; i < clients.length; i++) {
      clients[i].send("y\n");
      assertEquals("" + (char) ('a' + i), clients[i].readLine());
      assertEquals("y", clients[i].readLine());
    }
    stop(toy, clients.length);
  }

  /** Bytes that a blocked thread had not served when it lost the loop go with it. */
  @Schedules(
      random = 600,
      meeting = {"0 handed over", "1 handed over"})
  void unservedInputStaysWithTheThreadThatReadIt() throws Exception {
    ToyServer toy = serve((line, link) -> line, options -> options);
    MemoryClient one = Network.connect(toy.port());
    MemoryClient other = Network.connect(toy.port());
    one.send("a1\na2\na3\nha");
    other.send("b1\nb2\n");
    other.send("b3\n");
    one.send("lf\n");
    for (int i = 1; i <= 3; i++) {
      assertEquals("a" + i, one.readLine());
      assertEquals("b" + i, other.readLine());
    }
    assertEquals("half", one.readLine());
    one.close();
    other.send("quit\n");
    assertTrue(other.readLine() == null);
    stop(toy, 2);
  }
}
