package temse.server;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static temse.server.DrivenEngine.CONNECT;
import static temse.server.DrivenEngine.EOM;
import static temse.server.DrivenEngine.HEADER;
import static temse.server.DrivenEngine.MAIL;
import static temse.server.DrivenEngine.OFFER;
import static temse.server.DrivenEngine.QUIT;
import static temse.server.DrivenEngine.RCPT;

import clojure.lang.IPersistentMap;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Queue;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.atomic.AtomicInteger;
import temse.protocol.ActionFlag;
import temse.protocol.Actions;
import temse.protocol.EventType;
import temse.protocol.Keys;
import temse.protocol.Request;
import temse.schedules.MemoryClient;
import temse.schedules.Met;
import temse.schedules.Network;
import temse.schedules.Pick;
import temse.schedules.Schedules;
import temse.transport.Endpoint;
import temse.transport.TransportOptions;

/** A whole server of a filter: sockets in memory, loops, spare threads, engines and handlers. */
class MilterServerSchedulesTest {
  private static final Duration LONG = Duration.ofMinutes(1);
  private static final EngineOptions OPTIONS =
      EngineOptions.builder().progressInterval(Duration.ofMillis(2)).build();

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
    public Request request(Connection connection, IPersistentMap offer) {
      clients.incrementAndGet();
      return Request.builder()
          .events(EventType.MAIL, EventType.END_OF_MESSAGE, EventType.MESSAGE_END)
          .actions(ActionFlag.ADD_HEADER)
          .build();
    }

    @Override
    public List<IPersistentMap> onEvent(
        Connection connection, EventType type, IPersistentMap event) {
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
        Connection connection, EventType type, IPersistentMap event) {
      if (type == EventType.MAIL) {
        messages.incrementAndGet();
        sender = (String) event.valAt(Keys.SENDER);
        block();
      } else if (type == EventType.END_OF_MESSAGE && Pick.of(true, false)) {
        block();
        return List.of(Actions.addHeader("X-Sender", sender), Actions.accept());
      } else if (type == EventType.END_OF_MESSAGE) {
        CompletableFuture<String> value = new CompletableFuture<>();
        new Thread(() -> value.complete(sender)).start();
        connection.await(
            value, from -> List.of(Actions.addHeader("X-Sender", from), Actions.accept()));
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
    public void closed(ConnectionInfo connection, Throwable error) {
      closed.incrementAndGet();
    }

    @Override
    public void failed(
        ConnectionInfo connection, EventType type, IPersistentMap event, Throwable error) {
      problems.add(type + " " + error);
    }
  }

  private MilterServer serve(int loops) {
    TransportOptions transport =
        TransportOptions.builder().name("milter").loops(loops).daemon(true).build();
    return MilterServer.start(
        connection -> new Filter(),
        new ServerOptions(List.of(Endpoint.parse("0")), transport, OPTIONS, Duration.ZERO),
        new Reporter());
  }

  /** What an MTA reads: whole packets, until there are so many or the connection ends. */
  private static List<String> read(MemoryClient client, int wanted) {
    List<String> packets = new ArrayList<>();
    while (packets.size() < wanted) {
      String length = client.read(4);
      if (length.isEmpty()) {
        return packets;
      }
      byte[] number = length.getBytes(StandardCharsets.ISO_8859_1);
      int expected = ByteBuffer.wrap(number).getInt();
      String packet = client.read(expected);
      assertEquals(expected, packet.length(), "a packet is cut: " + packet);
      packets.add(packet.replace('\0', '|'));
      if (packets.removeIf(before -> before.equals("p"))) {
        assertEquals(3, packets.size(), "progress comes before the answer to the message");
        Met.met("progress");
      }
    }
    return packets;
  }

  /** Plays mails of one sender and returns how many were accepted before the connection ended. */
  private static int play(int port, String sender, int mails) {
    int accepted = 0;
    try (MemoryClient client = Network.connect(port)) {
      client.send(DrivenEngine.bytes(OFFER, CONNECT));
      if (read(client, 2).size() < 2) {
        return 0;
      }
      for (int i = 0; i < mails; i++) {
        client.send(DrivenEngine.bytes(MAIL.replace("a@example.org", sender), RCPT, HEADER, EOM));
        List<String> answers = read(client, 5);
        if (answers.size() < 5) {
          assertEquals(List.of("c", "c", "c").subList(0, Math.min(3, answers.size())), answers);
          return accepted;
        }
        List<String> expected = List.of("c", "c", "c", "hX-Sender|<" + sender + ">|", "a");
        assertEquals(expected, answers);
        accepted++;
      }
      client.send(DrivenEngine.bytes(QUIT));
    } catch (IOException e) {
      return accepted;
    }
    return accepted;
  }

  private void assertOver() {
    assertEquals(List.of(), List.copyOf(problems));
    assertEquals(messages.get(), messageEnds.get(), "each message ends once");
    assertEquals(clients.get(), clientEnds.get(), "each client ends once");
    assertTrue(closed.get() >= clients.get(), "each connection is reported");
  }

  @Schedules(
      random = 300,
      meeting = {"handed over", "lent", "progress"})
  void everyMessageGetsItsOwnAnswer() throws Exception {
    MilterServer server = serve(1);
    int port = server.port();
    AtomicInteger accepted = new AtomicInteger();
    Thread other = new Thread(() -> accepted.addAndGet(play(port, "b@example.org", 2)));
    other.start();
    accepted.addAndGet(play(port, "c@example.org", 2));
    other.join();
    server.stop(LONG);
    assertEquals(4, accepted.get());
    assertOver();
    Met.met(server.sockets().counters().handOvers() > 0 ? "handed over" : "not handed over");
    Met.met(server.sockets().counters().lent() > 0 ? "lent" : "not lent");
  }

  @Schedules(
      random = 300,
      meeting = {"0 accepted", "1 accepted", "2 accepted"})
  void aMessageIsAnsweredWholeOrNotAtAllWhenTheServerStops() throws Exception {
    MilterServer server = serve(Pick.of(1, 2));
    int port = server.port();
    AtomicInteger accepted = new AtomicInteger();
    Thread other = new Thread(() -> accepted.addAndGet(play(port, "b@example.org", 1)));
    other.start();
    Thread one = new Thread(() -> accepted.addAndGet(play(port, "c@example.org", 1)));
    one.start();
    Thread.sleep(Pick.number(4));
    server.stop(Pick.of(Duration.ZERO, Duration.ofMillis(1), LONG));
    one.join();
    other.join();
    Met.met(accepted + " accepted");
    assertOver();
  }
}
