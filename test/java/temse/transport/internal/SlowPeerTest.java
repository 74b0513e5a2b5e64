package temse.transport.internal;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertInstanceOf;

import java.net.SocketTimeoutException;
import java.time.Duration;
import java.util.List;
import java.util.concurrent.CountDownLatch;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** Peers that do not take their answers. */
@Timeout(60)
class SlowPeerTest {
  private static final String LARGE = "x".repeat(20_000_000);

  @Test
  void keepsWhatTheSocketDoesNotTakeAndServesOthers() throws Exception {
    try (ToyServer toy =
            new ToyServer(
                (line, link) -> line.equals("large") ? LARGE : line, options -> options.loops(1));
        ToyServer.Client slow = toy.connect();
        ToyServer.Client other = toy.connect()) {
      slow.send("large\n");
      assertEquals("other", other.ask("other"));
      slow.send("after\n");
      assertEquals("other", other.ask("other"));
      assertEquals(LARGE, slow.read());
      assertEquals("after", slow.read());
      toy.assertOrderly();
    }
  }

  @Test
  void keepsWhatTheSocketDoesNotTakeFromAHandlerThatBlocked() throws Exception {
    CountDownLatch release = new CountDownLatch(1);
    ToyConversation.Handler handler =
        (line, link) -> {
          if (line.equals("large")) {
            release.await();
            return LARGE;
          }
          return line;
        };
    try (ToyServer toy = new ToyServer(handler, options -> options.loops(1));
        ToyServer.Client slow = toy.connect();
        ToyServer.Client other = toy.connect()) {
      slow.send("large\nlarge\nafter\n");
      ToyServer.await("the loop is handed over", () -> toy.server.counters().handOvers() == 1);
      release.countDown();
      assertEquals("other", other.ask("other"));
      assertEquals(LARGE, slow.read());
      assertEquals(LARGE, slow.read());
      assertEquals("after", slow.read());
      toy.assertOrderly();
    }
  }

  @Test
  void writesTheLastAnswerWhollyBeforeItCloses() throws Exception {
    try (ToyServer toy = new ToyServer((line, link) -> LARGE);
        ToyServer.Client slow = toy.connect()) {
      slow.send("large\nquit\n");
      assertEquals(LARGE, slow.read());
      assertEquals(null, slow.read());
      toy.assertOrderly();
    }
  }

  @Test
  void givesAPeerUpThatTakesNothingForTooLong() throws Exception {
    try (ToyServer toy =
            new ToyServer(
                (line, link) -> LARGE, options -> options.writeTimeout(Duration.ofMillis(100)));
        ToyServer.Client slow = toy.connect()) {
      slow.send("large\n");
      ToyServer.await(toy.toys.endings);
      assertEquals(List.of(Conversation.End.TIMED_OUT), List.copyOf(toy.toys.ends));
      assertInstanceOf(SocketTimeoutException.class, toy.toys.causes.peek());
      toy.assertOrderly();
    }
  }
}
