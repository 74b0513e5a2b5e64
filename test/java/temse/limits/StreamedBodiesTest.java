package temse.limits;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.io.InputStream;
import java.time.Duration;
import java.util.List;
import java.util.Queue;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.function.Function;
import java.util.function.Supplier;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import temse.protocol.Action;
import temse.protocol.ActionFlag;
import temse.protocol.Event;
import temse.protocol.EventType;
import temse.protocol.MilterException;
import temse.protocol.Packet;
import temse.server.ConnectionInfo;
import temse.server.Milter;
import temse.server.MilterServer;
import temse.server.ServerListener;
import temse.server.Step;

/** New bodies out of streams that fail, are used twice, or are not wanted any more. */
@Timeout(60)
class StreamedBodiesTest {
  private static final int PIECE = 65535;

  /** A stream of a size, which fails after that or ends, and knows whether it was closed. */
  private static final class Watched extends InputStream {
    final CountDownLatch closed = new CountDownLatch(1);
    private final Throwable failure;
    private volatile long left;

    Watched(long size, Throwable failure) {
      this.left = size;
      this.failure = failure;
    }

    @Override
    public int read() throws IOException {
      byte[] one = new byte[1];
      return read(one, 0, 1) < 0 ? -1 : one[0];
    }

    @Override
    public int read(byte[] bytes, int offset, int length) throws IOException {
      if (left == 0) {
        if (failure instanceof Error error) {
          throw error;
        } else if (failure instanceof RuntimeException exception) {
          throw exception;
        } else if (failure instanceof IOException exception) {
          throw exception;
        }
        return -1;
      }
      int count = (int) Math.min(length, left);
      left -= count;
      return count;
    }

    @Override
    public void close() {
      closed.countDown();
    }

    void awaitClosed() throws InterruptedException {
      assertTrue(closed.await(10, TimeUnit.SECONDS), "it is not closed");
    }

    boolean isClosed() {
      return closed.getCount() == 0;
    }
  }

  private final Queue<Throwable> failures = new ConcurrentLinkedQueue<>();
  private MilterServer server;

  /** Starts a server that replaces each body by what the function returns for its sender. */
  private RawMta serve(Function<String, Object> body) throws IOException {
    return serve(body, ActionFlag.CHANGE_BODY);
  }

  private RawMta serve(Function<String, Object> body, ActionFlag flag) throws IOException {
    Milter<String> milter =
        Milter.perClient(() -> "")
            .requires(flag)
            .on(Event.Mail.class, (event, state) -> Step.next(event.sender()))
            .on(
                Event.EndOfMessage.class,
                (event, sender) -> {
                  Object given = body.apply(sender);
                  Step<String> next = Step.next(sender);
                  return given == null
                      ? next.respond(Action.accept())
                      : next.respond(Action.changeBody(given), Action.accept());
                })
            .build();
    ServerListener listener =
        new ServerListener() {
          @Override
          public void failed(
              ConnectionInfo connection, EventType type, Event event, Throwable error) {
            failures.add(error);
          }
        };
    server = MilterServer.builder(milter).listenOn("inet:0@127.0.0.1").listener(listener).start();
    return connect();
  }

  private RawMta connect() throws IOException {
    return RawMta.connect(server.port()).negotiate();
  }

  @AfterEach
  void stop() {
    server.stop(Duration.ZERO);
  }

  /** Returns what answers a mail: how many octets of a body, and the verdict. */
  private static String answer(RawMta mta, String sender) throws IOException {
    mta.sendMessage(sender);
    long octets = 0;
    while (true) {
      Packet packet = mta.read();
      assertTrue(packet != null, "the milter has closed the connection");
      switch ((char) packet.code()) {
        case 'b' -> octets += packet.payload().length;
        case 'c', 'p' -> {}
        default -> {
          return octets + " " + (char) packet.code();
        }
      }
    }
  }

  @Test
  void aStreamThatFailsInTheMiddleDefersTheMailAfterWholePackets() throws Exception {
    List<Throwable> problems =
        List.of(
            new IOException("disk"), new IllegalStateException("bug"), new StackOverflowError());
    for (Throwable problem : problems) {
      for (int packets : List.of(0, 1, 3, 40)) {
        Watched stream = new Watched((long) packets * PIECE + 17, problem);
        failures.clear();
        try (RawMta mta = serve(sender -> sender.equals("<bad>") ? stream : null)) {
          String answer = answer(mta, "<bad>");
          assertTrue(answer.endsWith(" t"), answer);
          long octets = Long.parseLong(answer.split(" ")[0]);
          assertEquals(0, octets % PIECE, "whole packets only");
          assertTrue(octets <= (long) packets * PIECE);
          stream.awaitClosed();
          assertEquals("0 a", answer(mta, "<next>"));
          assertEquals("0 t", answer(mta, "<bad>"), "it cannot be used again");
          assertEquals("0 a", answer(mta, "<next>"));
        }
        assertEquals(2, failures.size(), failures::toString);
        stop();
      }
    }
  }

  @Test
  void aStreamThatIsUsedTwiceDefersTheSecondMail() throws Exception {
    Watched stream = new Watched(200_000, null);
    try (RawMta mta = serve(sender -> sender.equals("<plain>") ? null : stream);
        RawMta other = connect()) {
      assertEquals("200000 a", answer(mta, "<first>"));
      assertTrue(stream.isClosed());
      assertEquals("0 t", answer(mta, "<second>"));
      assertEquals("0 t", answer(other, "<third>"));
      assertEquals("0 a", answer(mta, "<plain>"));
    }
    assertEquals(2, failures.size());
    for (Throwable failure : failures) {
      assertEquals(MilterException.Category.BAD_ACTION, ((MilterException) failure).category());
      assertTrue(failure.getMessage().contains("read for another message"), failure::getMessage);
    }
  }

  @Test
  void aStreamInUseForAnotherMailIsNotDisturbedByTheSecond() throws Exception {
    Watched stream = new Watched(100L * 1024 * 1024, null);
    try (RawMta slow = serve(sender -> stream);
        RawMta second = connect()) {
      slow.sendMessage("<first>");
      Packet packet = slow.read();
      while (packet.code() != 'b') {
        packet = slow.read();
      }
      assertEquals("0 t", answer(second, "<second>"));
      long octets = 0;
      for (; packet.code() == 'b'; packet = slow.read()) {
        octets += packet.payload().length;
      }
      assertEquals('a', (char) packet.code());
      assertEquals(100L * 1024 * 1024, octets);
    }
  }

  @Test
  void theStreamIsClosedWhenTheMtaGoesAwayInTheMiddle() throws Exception {
    for (boolean reset : List.of(true, false)) {
      for (boolean supplied : List.of(true, false)) {
        Watched stream = new Watched(Long.MAX_VALUE, null);
        Watched later = new Watched(10, null);
        Supplier<Object> supplier = () -> stream;
        RawMta mta = serve(sender -> List.of(supplied ? supplier : stream, later));
        mta.sendMessage("<endless>");
        while (mta.read().code() != 'b') {
          // The body has not begun.
        }
        if (reset) {
          mta.reset();
        } else {
          mta.close();
        }
        stream.awaitClosed();
        later.awaitClosed();
        stop();
      }
    }
  }

  @Test
  void theStreamIsClosedWhenTheServerStopsInTheMiddle() throws Exception {
    Watched stream = new Watched(Long.MAX_VALUE, null);
    try (RawMta mta = serve(sender -> stream)) {
      mta.sendMessage("<endless>");
      while (mta.read().code() != 'b') {
        // The body has not begun.
      }
      server.stop(Duration.ofMillis(100));
      stream.awaitClosed();
    }
  }

  @Test
  void theStreamIsClosedWhenTheResponseIsRefused() throws Exception {
    Watched stream = new Watched(10, null);
    try (RawMta mta = serve(sender -> stream, ActionFlag.ADD_HEADER)) {
      assertEquals("0 t", answer(mta, "<not-agreed>"));
      stream.awaitClosed();
    }
  }

  @Test
  void anEndlessBodyIsMadeNoFasterThanItIsRead() throws Exception {
    Watched stream = new Watched(Long.MAX_VALUE, null);
    try (RawMta mta = serve(sender -> sender.equals("<endless>") ? stream : null);
        RawMta other = connect()) {
      mta.sendMessage("<endless>");
      for (int i = 0; i < 3; i++) {
        assertEquals("0 a", answer(other, "<a@example.org>"), "others are served meanwhile");
      }
      assertTrue(Long.MAX_VALUE - stream.left < 64L * 1024 * 1024, "it is read ahead");
    }
    stream.awaitClosed();
  }
}
