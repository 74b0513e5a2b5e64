package temse.server.internal;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static temse.server.internal.DrivenEngine.CONNECT;
import static temse.server.internal.DrivenEngine.EOM;
import static temse.server.internal.DrivenEngine.HEADER;
import static temse.server.internal.DrivenEngine.MAIL;
import static temse.server.internal.DrivenEngine.OFFER;
import static temse.server.internal.DrivenEngine.QUIT;
import static temse.server.internal.DrivenEngine.RCPT;

import clojure.lang.IPersistentMap;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.List;
import java.util.Queue;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.atomic.AtomicInteger;
import temse.protocol.Action;
import temse.protocol.ActionFlag;
import temse.protocol.Actions;
import temse.protocol.Event;
import temse.protocol.EventType;
import temse.protocol.Keys;
import temse.protocol.MilterException;
import temse.protocol.Request;
import temse.schedules.MemoryClient;
import temse.schedules.Met;
import temse.schedules.Network;
import temse.schedules.Pick;
import temse.schedules.Schedules;
import temse.server.ConnectionInfo;
import temse.server.EngineOptions;
import temse.server.MilterConnection;
import temse.server.MilterHandler;
import temse.server.MilterServer;
import temse.server.ServerListener;
import temse.transport.TransportOptions;

/** A whole server of a filter: sockets in memory, loops, spare threads, engines and handlers. */
class MilterServerSchedulesTest {
  private static final Duration LONG = Duration.ofMinutes(1);
  private static final EngineOptions OPTIONS =
      EngineOptions.builder()
          .progressInterval(Duration.ofMillis(2))
          .handlerTimeout(Duration.ofMillis(4))
          .build();

  private final AtomicInteger messages = new AtomicInteger();
  private final AtomicInteger messageEnds = new AtomicInteger();
  private final AtomicInteger clients = new AtomicInteger();
  private final AtomicInteger clientEnds = new AtomicInteger();
  private final AtomicInteger closed = new AtomicInteger();
  private final Queue<String> problems = new ConcurrentLinkedQueue<>();

  /** Blocks or waits for some time; the answer to the message has its sender. */
  private final class Filter implements MilterHandler {
    private final AtomicInteger running = new AtomicInteger();
    private String sender;

    @Override
    public Request request(MilterConnection connection, IPersistentMap offer) {
      clients.incrementAndGet();
      return Request.builder()
          .events(EventType.MAIL, EventType.END_OF_MESSAGE, EventType.MESSAGE_END)
          .actions(ActionFlag.ADD_HEADER)
          .build();
    }

    @Override
    public List<IPersistentMap> onEvent(
        MilterConnection connection, EventType type, IPersistentMap event) {
      if (running.incrementAndGet() != 1) {
        problems.add("handlers of one connection overlap");
      }
      try {
        return answer(connection, type, event);
      } finally {
        running.decrementAndGet();
      }
    }

    private List<IPersistentMap> answer(
        MilterConnection connection, EventType type, IPersistentMap event) {
      if (type == EventType.MAIL) {
        messages.incrementAndGet();
        sender = (String) event.valAt(Keys.SENDER);
        block();
      } else if (type == EventType.END_OF_MESSAGE && Pick.of(true, false)) {
        block();
        return List.of(Actions.addHeader("X-Sender", sender), Actions.accept());
      } else if (type == EventType.END_OF_MESSAGE) {
        CompletableFuture<String> value = new CompletableFuture<>();
        String from = sender;
        Thread work =
            new Thread(
                () -> {
                  block();
                  value.complete(from);
                });
        work.start();
        connection.await(
            value, known -> List.of(Action.addHeader("X-Sender", known), Action.accept()));
      }
      return null;
    }

    private void block() {
      try {
        Thread.sleep(Pick.of(0, 2, 5));
      } catch (InterruptedException e) {
        Met.met("interrupted");
      }
    }

    @Override
    public void scopeEnded(EventType type) {
      (type == EventType.MESSAGE_END ? messageEnds : clientEnds).incrementAndGet();
    }
  }

  private final class Reporter implements ServerListener {
    @Override
    public void probed(ConnectionInfo connection, String what) {
      closed.incrementAndGet();
    }

    @Override
    public void closed(ConnectionInfo connection, Throwable error) {
      closed.incrementAndGet();
    }

    @Override
    public void failed(ConnectionInfo connection, EventType type, Event event, Throwable error) {
      boolean timeout =
          error instanceof MilterException known
              && known.category() == MilterException.Category.HANDLER_TIMEOUT;
      if (!timeout) {
        problems.add(type + " " + error);
      }
    }
  }

  private MilterServer serve(int loops) {
    TransportOptions transport =
        TransportOptions.builder().name("milter").loops(loops).daemon(true).build();
    return MilterServer.builder(connection -> new Filter())
        .listenOn("0")
        .transport(transport)
        .engine(OPTIONS)
        .stopTimeout(Duration.ZERO)
        .listener(new Reporter())
        .start();
  }

  /** What an MTA reads: a whole packet, or null if the connection has ended. */
  private static String read(MemoryClient client) {
    String length = client.read(4);
    if (length.isEmpty()) {
      return null;
    }
    int expected = ByteBuffer.wrap(length.getBytes(StandardCharsets.ISO_8859_1)).getInt();
    String packet = client.read(expected);
    assertEquals(expected, packet.length(), "a packet is cut: " + packet);
    return packet.replace('\0', '|');
  }

  /** Reads the answer to a message, or null; progress may come before it, not within. */
  private static String readAnswer(MemoryClient client) {
    String packet;
    do {
      packet = read(client);
    } while ("p".equals(packet));
    return packet == null || !packet.startsWith("h") ? packet : packet + " " + read(client);
  }

  /** Plays mails of one sender and returns how many were answered before the connection ended. */
  private static int play(int port, String sender, int mails) {
    int answered = 0;
    try (MemoryClient client = Network.connect(port)) {
      client.send(DrivenEngine.bytes(OFFER, CONNECT));
      read(client);
      read(client);
      for (; answered < mails; answered++) {
        client.send(DrivenEngine.bytes(MAIL.replace("a@example.org", sender), RCPT, HEADER, EOM));
        for (int i = 0; i < 3; i++) {
          String reply = read(client);
          assertTrue(reply == null || reply.equals("c"), reply);
        }
        String answer = readAnswer(client);
        if (answer == null) {
          return answered;
        }
        Met.met(answer.equals("t") ? "timed out" : "accepted");
        if (!answer.equals("t")) {
          assertEquals("hX-Sender|<" + sender + ">| a", answer);
        }
      }
      client.send(DrivenEngine.bytes(QUIT));
    } catch (IOException e) {
      Met.met("refused");
    }
    return answered;
  }

  private void assertOver() {
    assertEquals(List.of(), List.copyOf(problems));
    assertEquals(messages.get(), messageEnds.get(), "each message ends once");
    assertEquals(clients.get(), clientEnds.get(), "each client ends once");
    assertTrue(closed.get() >= clients.get(), "each connection is reported");
  }

  @Schedules(
      random = 300,
      meeting = {"handed over", "lent", "accepted", "timed out"})
  void everyMessageGetsItsOwnAnswer() throws Exception {
    MilterServer server = serve(1);
    int port = server.port();
    AtomicInteger answered = new AtomicInteger();
    Thread other = new Thread(() -> answered.addAndGet(play(port, "b@example.org", 2)));
    other.start();
    answered.addAndGet(play(port, "c@example.org", 2));
    other.join();
    server.stop(LONG);
    assertEquals(4, answered.get());
    assertOver();
    Met.met(server.counters().handOvers() > 0 ? "handed over" : "not handed over");
    Met.met(server.counters().lent() > 0 ? "lent" : "not lent");
  }

  @Schedules(
      random = 300,
      meeting = {"0 answered", "1 answered", "2 answered"})
  void aMessageIsAnsweredWholeOrNotAtAllWhenTheServerStops() throws Exception {
    MilterServer server = serve(Pick.of(1, 2));
    int port = server.port();
    AtomicInteger answered = new AtomicInteger();
    Thread other = new Thread(() -> answered.addAndGet(play(port, "b@example.org", 1)));
    other.start();
    Thread one = new Thread(() -> answered.addAndGet(play(port, "c@example.org", 1)));
    one.start();
    Thread.sleep(Pick.number(4));
    server.stop(Pick.of(Duration.ZERO, Duration.ofMillis(1), LONG));
    one.join();
    other.join();
    Met.met(answered + " answered");
    assertOver();
  }
}
