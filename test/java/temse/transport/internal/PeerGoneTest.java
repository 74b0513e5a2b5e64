package temse.transport.internal;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.lang.management.ManagementFactory;
import java.lang.management.ThreadMXBean;
import java.nio.ByteBuffer;
import java.util.List;
import java.util.Queue;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** Peers that go, or half close, while their conversation waits for a value. */
@Timeout(60)
class PeerGoneTest {
  private final Queue<CompletableFuture<String>> values = new ConcurrentLinkedQueue<>();
  private final ToyConversation.Handler handler =
      (line, link) -> {
        if (line.startsWith("wait")) {
          CompletableFuture<String> value = new CompletableFuture<>();
          values.add(value);
          return value;
        }
        return line;
      };

  private ToyServer.Client waiting(ToyServer toy, String input) throws Exception {
    ToyServer.Client client = toy.connect().send(input);
    ToyServer.await("a value is wanted", () -> values.size() == 1);
    return client;
  }

  @Test
  void aResetEndsTheConnectionWithoutTheValue() throws Exception {
    for (String input : List.of("wait\n", "wait\nmore\n", "wait\nwait\nhal")) {
      values.clear();
      try (ToyServer toy = new ToyServer(handler)) {
        ToyServer.Client client = waiting(toy, input);
        client.socket.setSoLinger(true, 0);
        client.close();
        ToyServer.await(toy.toys.endings);
        assertEquals(List.of(Conversation.End.PEER_CLOSED), List.copyOf(toy.toys.ends));
        assertEquals(1, toy.toys.causes.size());
        assertEquals(0, toy.toys.peersClosed.get());
        values.remove().complete("too late");
        toy.assertOrderly();
      }
    }
  }

  @Test
  void aResetIsNoticedBehindBytesThatCameEarly() throws Exception {
    try (ToyServer toy = new ToyServer(handler, options -> options.loops(1));
        ToyServer.Client other = toy.connect()) {
      ToyServer.Client client = waiting(toy, "wait\n");
      for (int i = 0; i < 10; i++) {
        client.send("more\n");
        assertEquals("other", other.ask("other"));
      }
      client.socket.setSoLinger(true, 0);
      client.close();
      ToyServer.await(toy.toys.endings);
      assertEquals(List.of(Conversation.End.PEER_CLOSED), List.copyOf(toy.toys.ends));
      toy.assertOrderly();
    }
  }

  @Test
  void aPeerThatHalfClosesGetsItsReply() throws Exception {
    try (ToyServer toy = new ToyServer(handler);
        ToyServer.Client client = waiting(toy, "wait\n")) {
      client.socket.shutdownOutput();
      ToyServer.await("the conversation knows", () -> toy.toys.peersClosed.get() == 1);
      values.remove().complete("value");
      assertEquals("value", client.read());
      assertNull(client.read());
      ToyServer.await(toy.toys.endings);
      assertEquals(List.of(Conversation.End.PEER_CLOSED), List.copyOf(toy.toys.ends));
      assertEquals(1, toy.toys.peersClosed.get());
      toy.assertOrderly();
    }
  }

  @Test
  void aConversationMayGiveUpWhenThePeerHalfCloses() throws Exception {
    try (ToyServer toy = new ToyServer(handler);
        ToyServer.Client client = waiting(toy, "wait\n")) {
      toy.toys.peerClosed = Conversation.Wish.CLOSE;
      client.socket.shutdownOutput();
      assertNull(client.read());
      ToyServer.await(toy.toys.endings);
      assertEquals(List.of(Conversation.End.PEER_CLOSED), List.copyOf(toy.toys.ends));
      toy.assertOrderly();
    }
  }

  @Test
  void servesTheRestBeforeItTellsTheConversation() throws Exception {
    try (ToyServer toy = new ToyServer(handler, options -> options.loops(1));
        ToyServer.Client other = toy.connect();
        ToyServer.Client client = waiting(toy, "wait one\nfast\nwait two\n")) {
      client.socket.shutdownOutput();
      assertEquals("other", other.ask("other"));
      assertEquals("other", other.ask("other"));
      assertEquals(0, toy.toys.peersClosed.get());
      values.remove().complete("one");
      assertEquals("one", client.read());
      assertEquals("fast", client.read());
      ToyServer.await("the conversation knows", () -> toy.toys.peersClosed.get() == 1);
      values.remove().complete("two");
      assertEquals("two", client.read());
      assertNull(client.read());
      assertEquals(1, toy.toys.peersClosed.get());
      toy.assertOrderly();
    }
  }

  /**
   * What the peer sends is more than any kernel buffers, which may be 33 MB of a TCP connection.
   */
  @Test
  void losesNothingThatComesEarlyAndStopsReadingWhenItIsMuch() throws Exception {
    int lines = 25_000;
    String rest = "-".repeat(4_000);
    try (ToyServer toy = new ToyServer(handler, options -> options.loops(1));
        ToyServer.Client other = toy.connect();
        ToyServer.Client client = waiting(toy, "wait\n")) {
      Thread writer =
          new Thread(
              () -> {
                for (int i = 0; i < lines; i++) {
                  ToyServer.sendAll(client, "line " + i + rest + "\n");
                }
              });
      writer.start();
      for (int i = 0; i < 100; i++) {
        assertEquals("other", other.ask("other"));
      }
      writer.join(1_000);
      assertTrue(writer.isAlive(), "the server has read too much");
      values.remove().complete("value");
      assertEquals("value", client.read());
      for (int i = 0; i < lines; i++) {
        assertEquals("line " + i + rest, client.read());
      }
      writer.join();
      toy.assertOrderly();
    }
  }

  /** Early bytes between values must not add up. */
  @Test
  void keepsNoMoreThanAllowedHoweverManyValuesAreWaitedFor() {
    Inlet inlet = new Inlet();
    inlet.keep(ByteBuffer.wrap(new byte[100_000]));
    for (int i = 0; i < 10; i++) {
      inlet.keepEarly(ByteBuffer.wrap(new byte[inlet.room()]));
      ByteBuffer input = inlet.take();
      input.get();
      inlet.keep(input);
      assertTrue(input.remaining() <= 100_000 + Inlet.MOST_EARLY, "kept " + input.remaining());
    }
    assertEquals(0, inlet.room());
    ByteBuffer input = inlet.take();
    inlet.keep(input.position(input.limit() - 10));
    assertEquals(Inlet.MOST_EARLY - 10, inlet.room());
  }

  @Test
  void doesNotSpinWhileAPeerThatHalfClosedIsWaitedFor() throws Exception {
    CountDownLatch never = new CountDownLatch(1);
    try (ToyServer toy = new ToyServer(handler, options -> options.loops(1));
        ToyServer.Client client = waiting(toy, "wait\n")) {
      client.send("early\n");
      client.socket.shutdownOutput();
      Thread loop =
          Thread.getAllStackTraces().keySet().stream()
              .filter(thread -> thread.getName().equals("toy-loop-0"))
              .findAny()
              .orElseThrow();
      ThreadMXBean threads = ManagementFactory.getThreadMXBean();
      assertTrue(!never.await(50, TimeUnit.MILLISECONDS));
      long before = threads.getThreadCpuTime(loop.getId());
      assertTrue(!never.await(300, TimeUnit.MILLISECONDS));
      long used = threads.getThreadCpuTime(loop.getId()) - before;
      assertTrue(used < 50_000_000, "the loop used " + used / 1e6 + " ms");
      values.remove().complete("value");
      assertEquals("value", client.read());
      assertEquals("early", client.read());
      assertNull(client.read());
    }
  }
}
