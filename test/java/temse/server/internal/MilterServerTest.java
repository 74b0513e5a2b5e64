package temse.server.internal;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import clojure.lang.IPersistentMap;
import clojure.lang.Keyword;
import clojure.lang.PersistentVector;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.Semaphore;
import java.util.concurrent.TimeUnit;
import java.util.function.Supplier;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;
import temse.client.Mail;
import temse.client.MessageReport;
import temse.client.MtaClient;
import temse.client.MtaOptions;
import temse.client.MtaSession;
import temse.protocol.Action;
import temse.protocol.ActionFlag;
import temse.protocol.Actions;
import temse.protocol.Event;
import temse.protocol.EventCodec;
import temse.protocol.EventType;
import temse.protocol.Keys;
import temse.protocol.MilterException;
import temse.protocol.Request;
import temse.server.ConnectionInfo;
import temse.server.EngineOptions;
import temse.server.Milter;
import temse.server.MilterConnection;
import temse.server.MilterFactory;
import temse.server.MilterHandler;
import temse.server.MilterServer;
import temse.server.ServerListener;
import temse.server.Step;
import temse.transport.Endpoint;
import temse.transport.TransportOptions;

/** The server over real sockets. */
@Timeout(60)
class MilterServerTest {
  private static final Endpoint ANY_PORT = Endpoint.parse("inet:0@127.0.0.1");

  /** Adds a header that tells the sender of the message, and counts what ends. */
  private static final class Echo implements MilterFactory {
    final ConcurrentHashMap<String, Integer> ends = new ConcurrentHashMap<>();
    final Semaphore disconnects = new Semaphore(0);

    void awaitDisconnects(int clients) throws InterruptedException {
      assertTrue(disconnects.tryAcquire(clients, 10, TimeUnit.SECONDS), "clients are gone");
    }

    @Override
    public MilterHandler open(ConnectionInfo connection) {
      return new MilterHandler() {
        private String sender;

        @Override
        public Request request(MilterConnection connection, IPersistentMap offer) {
          return Request.builder()
              .events(
                  EventType.MAIL,
                  EventType.HEADER,
                  EventType.END_OF_MESSAGE,
                  EventType.MESSAGE_END,
                  EventType.DISCONNECT)
              .noReplyEvents(List.of(EventType.HEADER))
              .actions(ActionFlag.ADD_HEADER)
              .build();
        }

        @Override
        public List<IPersistentMap> onEvent(
            MilterConnection connection, EventType type, IPersistentMap event) {
          switch (type) {
            case MAIL -> sender = (String) event.valAt(Keys.SENDER);
            case END_OF_MESSAGE -> {
              return List.of(Actions.addHeader("X-Sender", sender), Actions.accept());
            }
            case MESSAGE_END, DISCONNECT -> {
              String reason = ((Keyword) event.valAt(Keys.REASON)).getName();
              ends.merge(type + " " + reason, 1, Integer::sum);
              if (type == EventType.DISCONNECT) {
                disconnects.release();
              }
            }
            default -> {}
          }
          return null;
        }
      };
    }
  }

  private final Echo echo = new Echo();

  private static Mail mail(String sender) {
    return Mail.parse(
        sender,
        List.of("<b@example.com>"),
        "Subject: hi\nX: 1\nX: 2\n\ntext\n".getBytes(StandardCharsets.US_ASCII));
  }

  private static void deliver(MtaSession mta, String sender) throws IOException {
    IPersistentMap report = mta.deliver(mail(sender));
    assertEquals(Keyword.intern("accept"), report.valAt(Keyword.intern("verdict")));
    List<?> modifications = (List<?>) report.valAt(Keyword.intern("modifications"));
    assertEquals(1, modifications.size());
    assertEquals(sender, ((IPersistentMap) modifications.get(0)).valAt(Keys.VALUE));
  }

  private static void deliverSome(Endpoint endpoint, MtaOptions options) throws IOException {
    try (MtaSession mta = MtaClient.connect(endpoint, options)) {
      for (int i = 0; i < 5; i++) {
        deliver(mta, "<sender-" + i + "@example.org>");
      }
    }
  }

  @Test
  void severalMessagesPerConnectionAreServedOverTcp() throws Exception {
    try (MilterServer server = MilterServer.builder(echo).listenOn(ANY_PORT).start()) {
      assertTrue(server.port() > 0);
      deliverSome(server.endpoint(), MtaOptions.POSTFIX);
      deliverSome(server.endpoint(), MtaOptions.SENDMAIL);
      echo.awaitDisconnects(2);
    }
    assertEquals(10, echo.ends.get("MESSAGE_END accepted"));
    assertEquals(2, echo.ends.get("DISCONNECT quit"));
  }

  @Test
  void severalMessagesPerConnectionAreServedOverAUnixSocket(@TempDir Path directory)
      throws Exception {
    Path path = directory.resolve("milter.sock");
    try (MilterServer server =
        MilterServer.builder(echo).listenOn(Endpoint.parse("unix:" + path)).start()) {
      assertEquals(-1, server.port());
      deliverSome(server.endpoint(), MtaOptions.POSTFIX);
      deliverSome(server.endpoint(), MtaOptions.SENDMAIL);
      echo.awaitDisconnects(2);
    }
    assertFalse(Files.exists(path));
    assertEquals(10, echo.ends.get("MESSAGE_END accepted"));
  }

  @Test
  void twentyClientsAtOnceAreServed() throws Exception {
    ExecutorService clients = Executors.newFixedThreadPool(20);
    try (MilterServer server = MilterServer.builder(echo).listenOn(ANY_PORT).start()) {
      CountDownLatch together = new CountDownLatch(20);
      List<Future<?>> results = new ArrayList<>();
      for (int client = 0; client < 20; client++) {
        String name = "<client-" + client;
        MtaOptions options = client % 2 == 0 ? MtaOptions.POSTFIX : MtaOptions.SENDMAIL;
        results.add(
            clients.submit(
                () -> {
                  try (MtaSession mta = MtaClient.connect(server.endpoint(), options)) {
                    together.countDown();
                    together.await();
                    for (int i = 0; i < 10; i++) {
                      deliver(mta, name + "-" + i + "@example.org>");
                    }
                  }
                  return null;
                }));
      }
      for (Future<?> result : results) {
        result.get(50, TimeUnit.SECONDS);
      }
      echo.awaitDisconnects(20);
    } finally {
      clients.shutdownNow();
    }
    assertEquals(200, echo.ends.get("MESSAGE_END accepted"));
    assertEquals(20, echo.ends.get("DISCONNECT quit"));
  }

  private static IPersistentMap mailEvent() {
    return EventCodec.event(
        EventType.MAIL, Keys.SENDER, "<a@example.org>", Keys.OPTIONS, PersistentVector.EMPTY);
  }

  @Test
  @Tag("L5")
  void aMessageInProgressIsFinishedWhenTheServerStops() throws Exception {
    MilterServer server = MilterServer.builder(echo).listenOn(ANY_PORT).start();
    MtaSession idle = MtaClient.connect(server.endpoint());
    MtaSession busy = MtaClient.connect(server.endpoint());
    busy.send(mailEvent());
    Thread stopping = new Thread(() -> server.stop(Duration.ofSeconds(30)));
    stopping.start();
    echo.awaitDisconnects(1);
    assertThrows(IOException.class, () -> idle.send(mailEvent()), "idle connections are closed");
    List<IPersistentMap> response = busy.send(EventCodec.event(EventType.END_OF_MESSAGE));
    assertEquals("<a@example.org>", response.get(0).valAt(Keys.VALUE));
    assertEquals(Keyword.intern("accept"), response.get(1).valAt(Keys.ACTION));
    stopping.join();

    assertEquals(0, server.connections());
    assertEquals(1, echo.ends.get("MESSAGE_END accepted"));
    assertEquals(2, echo.ends.get("DISCONNECT stopping"));
    assertThrows(IOException.class, () -> MtaClient.connect(server.endpoint()));
  }

  @Test
  void aMessageThatDoesNotFinishInTimeIsLostWhenTheServerStops() throws Exception {
    MilterServer server = MilterServer.builder(echo).listenOn(ANY_PORT).start();
    MtaSession busy = MtaClient.connect(server.endpoint());
    busy.send(mailEvent());

    server.stop(Duration.ofMillis(50));
    assertEquals(1, echo.ends.get("MESSAGE_END lost"));
    assertEquals(1, echo.ends.get("DISCONNECT stopping"));
    assertThrows(IOException.class, () -> busy.send(EventCodec.event(EventType.END_OF_MESSAGE)));
  }

  @Test
  void aServerMayStartAgainWhereOneHasStopped() throws Exception {
    MilterServer first = MilterServer.builder(echo).listenOn(ANY_PORT).start();
    Endpoint endpoint = first.endpoint();
    deliverSome(endpoint, MtaOptions.POSTFIX);
    first.close();
    first.close();

    try (MilterServer second = MilterServer.builder(echo).listenOn(endpoint).start()) {
      assertEquals(endpoint, second.endpoint());
      deliverSome(endpoint, MtaOptions.POSTFIX);
    }
  }

  @Test
  void anAddressInUseIsSaidSo() {
    try (MilterServer first = MilterServer.builder(echo).listenOn(ANY_PORT).start()) {
      MilterException failure =
          assertThrows(
              MilterException.class,
              () -> MilterServer.builder(echo).listenOn(first.endpoint()).start());
      assertEquals(MilterException.Category.BIND_FAILED, failure.category());
    }
  }

  @Test
  void joinReturnsWhenTheServerHasStopped() throws Exception {
    MilterServer server = MilterServer.builder(echo).listenOn(ANY_PORT).start();
    CountDownLatch joined = new CountDownLatch(1);
    Thread waiting =
        new Thread(
            () -> {
              try {
                server.join();
                joined.countDown();
              } catch (InterruptedException e) {
                Thread.currentThread().interrupt();
              }
            });
    waiting.start();

    server.close();
    assertTrue(joined.await(10, TimeUnit.SECONDS));
  }

  @Test
  void aLostConnectionLosesItsMessage() throws Exception {
    CountDownLatch closed = new CountDownLatch(1);
    ConcurrentLinkedQueue<String> errors = new ConcurrentLinkedQueue<>();
    ServerListener listener =
        new ServerListener() {
          @Override
          public void closed(ConnectionInfo connection, Throwable error) {
            if (error != null) {
              errors.add(error.toString());
            }
            closed.countDown();
          }
        };
    try (MilterServer server =
        MilterServer.builder(echo).listenOn(ANY_PORT).listener(listener).start()) {
      MtaSession mta = MtaClient.connect(server.endpoint());
      mta.send(mailEvent());
      mta.drop();
      assertTrue(closed.await(10, TimeUnit.SECONDS));
    }
    assertEquals(1, echo.ends.get("MESSAGE_END lost"));
    assertEquals(1, echo.ends.get("DISCONNECT connection-lost"));
    assertEquals(List.of(), List.copyOf(errors));
  }

  @Test
  void aServerSaysWithWhatOptionsItServes() {
    EngineOptions engine = EngineOptions.builder().maximumRecipients(7).build();
    TransportOptions transport = TransportOptions.builder().maxConnections(8).build();
    try (MilterServer server =
        MilterServer.builder(connection -> null)
            .listenOn(ANY_PORT)
            .engine(engine)
            .transport(transport)
            .stopTimeout(Duration.ZERO)
            .start()) {
      assertEquals(7, server.engine().maximumRecipients());
      assertEquals(8, server.transport().maxConnections());
      assertEquals(Duration.ZERO, server.stopTimeout());
      server.replace(connection -> null, EngineOptions.DEFAULTS, ServerListener.SILENT);
      assertEquals(50_000, server.engine().maximumRecipients());
    }
  }

  private static Milter<Integer> counting(String name, ActionFlag flag) {
    return Milter.perClient(() -> 0)
        .requires(ActionFlag.ADD_HEADER, flag)
        .on(Event.Connect.class, (connect, mails) -> Step.next(10))
        .on(
            Event.EndOfMessage.class,
            (end, mails) ->
                Step.next(mails + 1).respond(Action.addHeader(name, "" + mails), Action.accept()))
        .build();
  }

  private static String added(MtaSession mta) throws IOException {
    MessageReport report = mta.sendMessage("<a@example.org>", List.of("<b@example.com>"), "\n\n");
    Action.AddHeader field = (Action.AddHeader) report.modifications().get(0);
    return field.name() + " " + field.value();
  }

  @Test
  void anotherMilterBeginsWithTheStateOfANewClient() throws IOException {
    try (MilterServer server =
            MilterServer.builder(counting("X-Old", ActionFlag.ADD_HEADER))
                .listenOn(ANY_PORT)
                .start();
        MtaSession mta = MtaClient.connect(server.endpoint(), MtaOptions.POSTFIX)) {
      assertEquals(List.of("X-Old 10", "X-Old 11"), List.of(added(mta), added(mta)));
      server.replace(counting("X-New", ActionFlag.ADD_HEADER));
      assertEquals(List.of(), server.outdated());
      assertEquals(List.of("X-New 10", "X-New 11"), List.of(added(mta), added(mta)));
      server.replace(counting("X-Newest", ActionFlag.QUARANTINE));
      assertEquals(
          List.of("actions quarantine"),
          server.outdated().stream().map(connection -> "" + connection.missing()).toList());
      assertEquals("X-New 12", added(mta));
      assertEquals(1, server.outdated().get(0).id());
    }
  }

  @Test
  void whatCannotBeServedIsRefusedWhereItIsWritten() {
    assertThrows(NullPointerException.class, () -> MilterServer.builder(null));
    MilterServer.Builder builder = MilterServer.builder(connection -> null);
    assertThrows(IllegalStateException.class, builder::start);
    assertThrows(IllegalArgumentException.class, () -> builder.listenOn("nowhere:1"));
    assertThrows(NullPointerException.class, () -> builder.listenOn((Endpoint) null));
    assertThrows(NullPointerException.class, () -> builder.listener(null));
    assertThrows(NullPointerException.class, () -> builder.engine(null));
    assertThrows(NullPointerException.class, () -> builder.transport(null));
    assertThrows(IllegalArgumentException.class, () -> builder.stopTimeout(Duration.ofSeconds(-1)));
    List<Supplier<EngineOptions>> wrong =
        List.of(
            () -> EngineOptions.builder().maximumPacketSize(-1).build(),
            () -> EngineOptions.builder().maximumMacroBytes(0).build(),
            () -> EngineOptions.builder().idleTimeout(Duration.ZERO).build(),
            () -> EngineOptions.builder().handlerTimeout(Duration.ofSeconds(-1)).build(),
            () -> EngineOptions.builder().progressInterval(null).build(),
            () -> EngineOptions.builder().defaultReply(EventType.MAIL, Action.skip()).build());
    for (Supplier<EngineOptions> options : wrong) {
      assertEquals(
          MilterException.Category.BAD_OPTIONS,
          assertThrows(MilterException.class, options::get).category());
    }
  }
}
