package temse.transport.internal;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.function.UnaryOperator;
import temse.schedules.MemoryClient;
import temse.schedules.Met;
import temse.schedules.Network;
import temse.schedules.Pick;
import temse.schedules.Schedules;
import temse.transport.TransportOptions;

/**
 * What several threads write on one connection, to a peer that takes a few bytes at a time: the
 * thread that answers, work that reports at once, and the loop, for a connection that is held.
 */
class WritingSchedulesTest {
  private static final int ROOM = 8;
  private static final int NOTES = 3;

  private static ToyServer serve(
      ToyConversation.Handler handler, UnaryOperator<TransportOptions.Builder> more)
      throws IOException {
    return new ToyServer(handler, options -> more.apply(options.loops(1)));
  }

  private static void writeNotes(Link link) {
    for (int i = 0; i < NOTES; i++) {
      link.writeNow(("note number " + i + "\n").getBytes(StandardCharsets.US_ASCII));
    }
  }

  private static void join(Thread thread) {
    try {
      thread.join();
    } catch (InterruptedException e) {
      throw new IllegalStateException(e);
    }
  }

  private static void stop(ToyServer toy) {
    toy.server.stop(Duration.ofMinutes(1));
    // The code that holds the connection may return while the loop is about to look after it.
    toy.toys.violations.removeIf("held too early"::equals);
    toy.assertOrderly();
  }

  /** Lines that are cut or mixed up would be none of those that are written. */
  @Schedules(
      random = 500,
      meeting = {"held", "0 handed over", "1 handed over"})
  void whatIsWrittenAtOnceStaysTogetherAndInOrder() throws Exception {
    ToyServer toy =
        serve(
            (line, link) -> {
              Thread writer = new Thread(() -> writeNotes(link));
              writer.start();
              Thread.sleep(Pick.of(0, 5));
              join(writer);
              return "answer to " + line;
            },
            options -> options);
    toy.toys.heldInterval = 2_000_000;
    MemoryClient client = Network.connect(toy.port(), ROOM);
    client.send("x\nquit\n");
    List<String> lines = new ArrayList<>();
    for (String line; (line = client.readLine()) != null; ) {
      lines.add(line);
    }
    if (lines.removeIf("held"::equals)) {
      Met.met("held");
    }
    assertEquals(List.of("note number 0", "note number 1", "note number 2", "answer to x"), lines);
    stop(toy);
    Met.met(toy.server.counters().handOvers() + " handed over");
  }

  /** The peer goes, or the server stops, while several threads write. */
  @Schedules(
      random = 500,
      meeting = {"peer gone", "stopped"})
  void writingEndsWithTheConnection() throws Exception {
    ToyServer toy =
        serve(
            (line, link) -> {
              Thread writer = new Thread(() -> writeNotes(link));
              writer.start();
              Thread.sleep(Pick.of(0, 5));
              return "answer to " + line;
            },
            options -> options.writeTimeout(Duration.ofSeconds(1)));
    toy.toys.heldInterval = 2_000_000;
    MemoryClient client = Network.connect(toy.port(), ROOM);
    client.send("x\ny\n");
    String some = client.read(Pick.number(20));
    assertTrue(some.length() < 20, some);
    if (Pick.of(true, false)) {
      client.close();
      Met.met("peer gone");
    } else {
      Met.met("stopped");
    }
    stop(toy);
    assertEquals(0, toy.server.connections());
    assertEquals(toy.toys.opened.get(), toy.toys.ended.get());
  }
}
