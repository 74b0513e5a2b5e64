package temse.transport.internal;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** What a connection sees, whether its user code is fast or blocks. */
@Timeout(60)
class EventLoopTest {

  @Test
  void answersEachLine() throws Exception {
    try (ToyServer toy = new ToyServer((line, link) -> "[" + line + "]");
        ToyServer.Client client = toy.connect()) {
      assertEquals("[one]", client.ask("one"));
      assertEquals("[two]", client.ask("two"));
      toy.assertOrderly();
    }
  }

  @Test
  void servesInputThatArrivesInPiecesAndInHeaps() throws Exception {
    try (ToyServer toy = new ToyServer((line, link) -> line);
        ToyServer.Client client = toy.connect()) {
      for (char c : "split\n".toCharArray()) {
        client.send(String.valueOf(c));
      }
      assertEquals("split", client.read());
      StringBuilder heap = new StringBuilder();
      for (int i = 0; i < 20_000; i++) {
        heap.append("line ").append(i).append('\n');
      }
      Thread writer = new Thread(() -> send(client, heap.toString()));
      writer.start();
      for (int i = 0; i < 20_000; i++) {
        assertEquals("line " + i, client.read());
      }
      writer.join();
      toy.assertOrderly();
    }
  }

  private static void send(ToyServer.Client client, String text) {
    try {
      client.send(text);
    } catch (java.io.IOException e) {
      throw new java.io.UncheckedIOException(e);
    }
  }

  @Test
  void servesOthersWhileManyHandlersBlock() throws Exception {
    CountDownLatch release = new CountDownLatch(1);
    ToyConversation.Handler handler =
        (line, link) -> {
          if (line.startsWith("block")) {
            release.await();
          }
          return line;
        };
    List<ToyServer.Client> blocked = new ArrayList<>();
    try (ToyServer toy = new ToyServer(handler)) {
      for (int i = 0; i < 200; i++) {
        blocked.add(toy.connect().send("block " + i + "\n"));
      }
      for (int i = 0; i < 50; i++) {
        try (ToyServer.Client client = toy.connect()) {
          for (int j = 0; j < 100; j++) {
            assertEquals("fast " + j, client.ask("fast " + j));
          }
        }
      }
      release.countDown();
      for (int i = 0; i < 200; i++) {
        assertEquals("block " + i, blocked.get(i).read());
        assertEquals("again", blocked.get(i).ask("again"));
      }
      assertTrue(toy.server.counters().handOvers() >= 1);
      assertTrue(
          toy.server.counters().lent() >= 100, "blocking is foreseen: " + toy.server.counters());
      toy.assertOrderly();
    } finally {
      for (ToyServer.Client client : blocked) {
        client.close();
      }
    }
  }

  @Test
  void keepsTheOrderOfOneConnectionAcrossAHandOver() throws Exception {
    CountDownLatch release = new CountDownLatch(1);
    ToyConversation.Handler handler =
        (line, link) -> {
          if (line.equals("block")) {
            release.await();
          }
          return line;
        };
    try (ToyServer toy = new ToyServer(handler, options -> options.loops(1));
        ToyServer.Client client = toy.connect();
        ToyServer.Client other = toy.connect()) {
      client.send("a\nblock\nb\nc\n");
      assertEquals("other", other.ask("other"));
      ToyServer.await("the loop is handed over", () -> toy.server.counters().handOvers() == 1);
      client.send("d\n");
      assertEquals("other", other.ask("other"));
      release.countDown();
      for (String line : List.of("a", "block", "b", "c", "d")) {
        assertEquals(line, client.read());
      }
      assertEquals("e", client.ask("e"));
      toy.assertOrderly();
    }
  }

  @Test
  void runsAKindInlineAgainOnceItHasProvedFast() throws Exception {
    CountDownLatch release = new CountDownLatch(1);
    ToyConversation.Handler handler =
        (line, link) -> {
          if (line.equals("x block")) {
            release.await();
          }
          return Thread.currentThread().getName();
        };
    try (ToyServer toy =
            new ToyServer(handler, o -> o.loops(1).blockGrace(java.time.Duration.ofMillis(50)));
        ToyServer.Client client = toy.connect();
        ToyServer.Client other = toy.connect()) {
      client.send("x block\n");
      ToyServer.await("the loop is handed over", () -> toy.server.counters().handOvers() == 1);
      for (int i = 0; i < 32; i++) {
        other.ask("x fast");
      }
      assertEquals(32, toy.toys.moves.get());
      other.ask("x fast");
      other.ask("y fast");
      assertEquals(32, toy.toys.moves.get());
      release.countDown();
      client.read();
      toy.assertOrderly();
    }
  }

  @Test
  void waitsForValuesThatComeLateOrEarlyOrTwice() throws Exception {
    CompletableFuture<String> late = new CompletableFuture<>();
    ToyConversation.Handler handler =
        (line, link) ->
            switch (line) {
              case "late" -> late;
              case "early" -> CompletableFuture.completedFuture("early");
              case "twice" -> {
                link.later(() -> {});
                yield CompletableFuture.supplyAsync(
                    () -> {
                      link.later(() -> {});
                      link.later(() -> {});
                      return "twice";
                    });
              }
              default -> line;
            };
    try (ToyServer toy = new ToyServer(handler, options -> options.loops(1));
        ToyServer.Client client = toy.connect();
        ToyServer.Client other = toy.connect()) {
      client.send("early\nlate\nafter\n");
      assertEquals("early", client.read());
      assertEquals("other", other.ask("other"));
      client.send("more\n");
      assertEquals("other", other.ask("other"));
      late.complete("late");
      assertEquals("late", client.read());
      assertEquals("after", client.read());
      assertEquals("more", client.read());
      for (int i = 0; i < 1000; i++) {
        assertEquals("twice", client.ask("twice"));
      }
      toy.assertOrderly();
    }
  }

  @Test
  void waitsForAValueOfAHandlerThatBlockedFirst() throws Exception {
    CountDownLatch release = new CountDownLatch(1);
    ToyConversation.Handler handler =
        (line, link) -> {
          if (line.equals("block")) {
            release.await();
            return CompletableFuture.supplyAsync(() -> "value");
          }
          return line;
        };
    try (ToyServer toy = new ToyServer(handler);
        ToyServer.Client client = toy.connect()) {
      client.send("block\nafter\n");
      ToyServer.await("the loop is handed over", () -> toy.server.counters().handOvers() == 1);
      release.countDown();
      assertEquals("value", client.read());
      assertEquals("after", client.read());
      assertEquals("value", client.ask("block"));
      toy.assertOrderly();
    }
  }

  @Test
  void tellsAConversationThatItsDeadlineHasPassed() throws Exception {
    CompletableFuture<String> never = new CompletableFuture<>();
    try (ToyServer toy =
            new ToyServer((line, link) -> line.equals("never") ? never : (Object) line);
        ToyServer.Client client = toy.connect()) {
      toy.toys.timeout = TimeUnit.MILLISECONDS.toNanos(20);
      client.send("never\nafter\n");
      assertEquals("expired", client.read());
      assertEquals("after", client.read());
      assertEquals("expired", client.ask("never"));
      toy.assertOrderly();
    }
  }

  @Test
  void writesBeforeTheCallReturnsWhenAskedTo() throws Exception {
    CountDownLatch release = new CountDownLatch(1);
    ToyConversation.Handler handler =
        (line, link) -> {
          link.output().put("working\n".getBytes());
          link.flush();
          release.await();
          return "done";
        };
    try (ToyServer toy = new ToyServer(handler);
        ToyServer.Client client = toy.connect()) {
      assertEquals("working", client.ask("x"));
      release.countDown();
      assertEquals("done", client.read());
      toy.assertOrderly();
    }
  }

  /** A peer with Nagle's algorithm holds the second write until the first is acknowledged. */
  @Test
  void acknowledgesAtOnceWhatGetsNoAnswer() throws Exception {
    try (ToyServer toy =
            new ToyServer((line, link) -> line.equals("silent") ? null : (Object) line);
        ToyServer.Client client = toy.connect()) {
      client.socket.setTcpNoDelay(false);
      long start = System.nanoTime();
      for (int i = 0; i < 50; i++) {
        client.send("silent\n");
        assertEquals("x", client.ask("x"));
      }
      long delayed = TimeUnit.MILLISECONDS.toNanos(50 * 40);
      assertTrue(System.nanoTime() - start < delayed / 2, "acknowledgements were delayed");
    }
  }

  @Test
  void closesAfterTheLastAnswer() throws Exception {
    try (ToyServer toy = new ToyServer((line, link) -> line);
        ToyServer.Client client = toy.connect()) {
      client.send("one\nquit\nlost\n");
      assertEquals("one", client.read());
      assertNull(client.read());
      ToyServer.await(toy.toys.endings);
      assertEquals(List.of(Conversation.End.CLOSED_HERE), List.copyOf(toy.toys.ends));
      toy.assertOrderly();
    }
  }

  @Test
  void servesWhatThePeerSentBeforeItClosed() throws Exception {
    java.util.Queue<String> seen = new java.util.concurrent.ConcurrentLinkedQueue<>();
    try (ToyServer toy =
        new ToyServer(
            (line, link) -> {
              seen.add(line);
              return null;
            })) {
      try (ToyServer.Client client = toy.connect()) {
        client.send("one\ntwo\n");
      }
      ToyServer.await(toy.toys.endings);
      assertEquals(List.of("one", "two"), List.copyOf(seen));
      assertEquals(List.of(Conversation.End.PEER_CLOSED), List.copyOf(toy.toys.ends));
      toy.assertOrderly();
    }
  }

  @Test
  void takesAResetForACloseByThePeer() throws Exception {
    try (ToyServer toy = new ToyServer((line, link) -> line)) {
      ToyServer.Client client = toy.connect();
      assertEquals("one", client.ask("one"));
      client.socket.setSoLinger(true, 0);
      client.close();
      ToyServer.await(toy.toys.endings);
      assertEquals(List.of(Conversation.End.PEER_CLOSED), List.copyOf(toy.toys.ends));
      assertEquals(1, toy.toys.causes.size());
      toy.assertOrderly();
    }
  }

  @Test
  void closesOnlyTheConnectionWhoseConversationThrows() throws Exception {
    ToyConversation.Handler handler =
        (line, link) -> {
          switch (line) {
            case "overflow" -> overflow(0);
            case "memory" -> throw new OutOfMemoryError("made up");
            default -> {}
          }
          return line;
        };
    try (ToyServer toy = new ToyServer(handler, options -> options.loops(1));
        ToyServer.Client other = toy.connect()) {
      for (String line : List.of("overflow", "memory")) {
        try (ToyServer.Client client = toy.connect()) {
          assertNull(client.ask(line));
        }
        assertEquals("other", other.ask("other"));
      }
      ToyServer.await("both have ended", () -> toy.toys.ended.get() == 2);
      assertEquals(
          List.of(Conversation.End.FAILED, Conversation.End.FAILED), List.copyOf(toy.toys.ends));
    }
  }

  private static int overflow(int depth) {
    return overflow(depth + 1) + 1;
  }

  @Test
  void keepsAnInterruptFromTheNextHandlerOfTheThread() throws Exception {
    ToyConversation.Handler handler =
        (line, link) -> {
          boolean interrupted = Thread.interrupted();
          Thread.currentThread().interrupt();
          return String.valueOf(interrupted);
        };
    try (ToyServer toy = new ToyServer(handler);
        ToyServer.Client client = toy.connect()) {
      for (int i = 0; i < 10; i++) {
        client.send("x\nx\n");
        assertEquals("false", client.read());
        assertEquals("false", client.read());
      }
      toy.assertOrderly();
    }
  }

  @Test
  void letsWaitWhatWantsMoreThreadsThanMayBeHeld() throws Exception {
    CountDownLatch release = new CountDownLatch(1);
    ToyConversation.Handler handler =
        (line, link) -> {
          if (line.startsWith("block")) {
            release.await();
          }
          return line;
        };
    List<ToyServer.Client> blocked = new ArrayList<>();
    try (ToyServer toy = new ToyServer(handler, options -> options.loops(1).maxBlocked(3));
        ToyServer.Client other = toy.connect()) {
      for (int i = 0; i < 10; i++) {
        blocked.add(toy.connect().send("block " + i + "\n"));
      }
      ToyServer.await("seven wait", () -> toy.server.counters().waits() == 7);
      assertEquals("other", other.ask("other"));
      release.countDown();
      for (int i = 0; i < 10; i++) {
        assertEquals("block " + i, blocked.get(i).read());
      }
      toy.assertOrderly();
    } finally {
      for (ToyServer.Client client : blocked) {
        client.close();
      }
    }
  }

  @Test
  void leavesAHandlerThatBlocksThoughNoThreadIsLentAnyMore() throws Exception {
    CountDownLatch release = new CountDownLatch(1);
    ToyConversation.Handler handler =
        (line, link) -> {
          if (line.endsWith("block")) {
            release.await();
          }
          return line;
        };
    try (ToyServer toy = new ToyServer(handler, options -> options.loops(1).maxBlocked(1));
        ToyServer.Client first = toy.connect();
        ToyServer.Client second = toy.connect();
        ToyServer.Client third = toy.connect()) {
      first.send("a block\n");
      ToyServer.await("the loop is handed over", () -> toy.server.counters().handOvers() == 1);
      second.send("b block\n");
      assertEquals("c", third.ask("c"));
      assertEquals(2, toy.server.counters().handOvers());
      assertEquals(0, toy.server.counters().stalls());
      release.countDown();
      assertEquals("a block", first.read());
      assertEquals("b block", second.read());
      toy.assertOrderly();
    }
  }
}
