package temse.message;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import clojure.lang.IPersistentMap;
import clojure.lang.Keyword;
import clojure.lang.PersistentVector;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import org.junit.jupiter.api.Test;
import temse.client.Mail;
import temse.client.MtaClient;
import temse.client.MtaOptions;
import temse.client.MtaSession;
import temse.compose.Filter;
import temse.protocol.Action;
import temse.protocol.ActionFlag;
import temse.protocol.Event;
import temse.protocol.EventCodec;
import temse.protocol.EventType;
import temse.protocol.Keys;
import temse.protocol.MilterException;
import temse.server.ConnectionInfo;
import temse.server.EngineOptions;
import temse.server.MilterFactory;
import temse.server.MilterServer;
import temse.server.ServerListener;

/** Filters of whole messages in Java. */
class MessageFilterTest {
  private static final List<String> RECIPIENTS = List.of("<b@example.com>", "<c@example.com>");

  private final List<Message> seen = new ArrayList<>();
  private final List<String> bodies = new ArrayList<>();

  private List<Action> keep(Message message) {
    seen.add(message);
    bodies.add(new String(message.body().bytes(), StandardCharsets.ISO_8859_1));
    return List.of();
  }

  private static String deliver(MessageFilter filter, String text) throws IOException {
    return deliver(filter, text, "modifications");
  }

  private static String deliver(MessageFilter filter, String text, String key) throws IOException {
    byte[] bytes = text.getBytes(StandardCharsets.ISO_8859_1);
    try (MtaSession mta =
        MtaClient.inProcess(
            filter, EngineOptions.DEFAULTS, ServerListener.SILENT, MtaOptions.POSTFIX)) {
      IPersistentMap report = mta.deliver(Mail.parse("<a@example.org>", RECIPIENTS, bytes));
      return String.valueOf(report.valAt(Keyword.intern(key)));
    }
  }

  @Test
  void aFilterReceivesTheWholeMessage() throws IOException {
    MessageFilter filter = MessageFilter.of((message, connection) -> keep(message)).build();
    assertEquals(":accept", deliver(filter, "Subject: hi\nX-A: 1\n\nhello\n", "verdict"));
    Message message = seen.get(0);
    assertEquals("<a@example.org>", message.sender());
    assertEquals(RECIPIENTS, message.recipients());
    assertEquals(
        List.of(new HeaderField("Subject", "hi"), new HeaderField("X-A", "1")), message.headers());
    assertEquals(List.of("hello\r\n"), bodies);
    assertEquals(EventType.END_OF_MESSAGE, message.at());
    assertEquals(Mta.POSTFIX, Mta.of(message.macros()));
    MilterException over = assertThrows(MilterException.class, () -> message.body().open());
    assertEquals(MilterException.Category.STALE_CONTEXT, over.category());
  }

  @Test
  void aFilterThatAsksForNoBodyReceivesNone() throws IOException {
    MessageFilter filter =
        MessageFilter.of((message, connection) -> keep(message)).withoutBody().build();
    assertEquals(":accept", deliver(filter, "Subject: hi\n\nhello\n", "verdict"));
    assertEquals(List.of(""), bodies);
  }

  @Test
  void aChangedMessageIsDeliveredByAction() throws IOException {
    MessageFilter filter =
        MessageFilter.of(
                (message, connection) -> {
                  List<HeaderField> fields = new ArrayList<>(message.headers());
                  fields.removeIf(field -> field.isNamed("x-a"));
                  fields.add(0, new HeaderField("X-New", "yes"));
                  return Changes.actions(
                      message,
                      message
                          .withHeaders(fields)
                          .withRecipients(List.of("<b@example.com>"))
                          .withSender("<s@example.org>")
                          .withBody("hello\n"),
                      connection);
                })
            .requires(
                ActionFlag.ADD_HEADER,
                ActionFlag.CHANGE_HEADER,
                ActionFlag.CHANGE_SENDER,
                ActionFlag.DELETE_RECIPIENT)
            .build();
    assertEquals(
        PersistentVector.create(
                Action.changeSender("<s@example.org>").map(),
                Action.deleteRecipient("<c@example.com>").map(),
                Action.insertHeader(0, "X-New", "yes").map(),
                Action.deleteHeader("X-A", 2).map(),
                Action.deleteHeader("X-A", 1).map())
            .toString(),
        deliver(filter, "Subject: hi\nX-A: 1\nX-A: 2\n\nhello\n"));
  }

  @Test
  void aFilterMayAnswerLaterAndReadTheBodyMeanwhile() throws IOException {
    MessageFilter filter =
        MessageFilter.of(
                (message, connection) -> {
                  connection.await(
                      CompletableFuture.supplyAsync(() -> message.body().bytes().length),
                      size -> List.of(Action.addHeader("X-Size", "" + size)));
                  return null;
                })
            .requires(ActionFlag.ADD_HEADER)
            .store(MessageStore.builder().memoryPerMessage(0).build())
            .build();
    assertEquals(
        PersistentVector.EMPTY.cons(Action.addHeader("X-Size", "7").map()).toString(),
        deliver(filter, "A: 1\n\nhello\n"));
  }

  @Test
  void aRecipientThatAHandlerBesideItRefusesIsNotInTheMessage() throws IOException {
    MessageFilter filter =
        MessageFilter.of((message, connection) -> keep(message))
            .at(EventType.END_OF_HEADERS, EventType.END_OF_MESSAGE)
            .beside(
                EventType.RECIPIENT,
                (event, connection) ->
                    ((Event.Recipient) event).address().equals("<b@example.com>")
                        ? List.of(Action.reject())
                        : null)
            .build();
    deliver(filter, "A: 1\n\nhello\n");
    assertEquals(2, seen.size());
    assertEquals(List.of("<c@example.com>"), seen.get(1).recipients());
    assertEquals(List.of("", "hello\r\n"), bodies);
  }

  @Test
  void aMessageThatCannotBeKeptIsDeferred() throws IOException {
    MessageFilter filter =
        MessageFilter.of((message, connection) -> keep(message))
            .store(
                MessageStore.builder()
                    .memoryPerMessage(0)
                    .directory(Path.of("/nonexistent"))
                    .build())
            .build();
    assertEquals(":temporary-failure", deliver(filter, "A: 1\n\nhello\n", "verdict"));
    assertEquals(List.of(), seen);
  }

  @Test
  void aDiskThatIsFullDefersTheMessageAndGivesTheMemoryBack() throws IOException {
    MessageStore store =
        MessageStore.builder()
            .memoryPerMessage(0)
            .build(
                new TemporaryFiles(Path.of("unused")) {
                  @Override
                  BodyFile open() throws IOException {
                    throw new IOException("No space left on device");
                  }
                });
    MessageFilter filter =
        MessageFilter.of((message, connection) -> keep(message)).store(store).build();
    assertEquals(":temporary-failure", deliver(filter, "A: 1\n\nhello\n", "verdict"));
    assertEquals(List.of(), seen);
    assertEquals(0, store.memoryTaken());
  }

  @Test
  void aFieldThatCannotBeKeptIsReportedAndDefersTheMessage() throws IOException {
    MessageFilter filter =
        MessageFilter.of((message, connection) -> keep(message))
            .store(MessageStore.builder().messageMemory(10_000).build())
            .build();
    List<String> failed = new ArrayList<>();
    ServerListener listener =
        new ServerListener() {
          @Override
          public void failed(
              ConnectionInfo connection, EventType type, Event event, Throwable error) {
            failed.add(((Event.Header) event).name() + ": " + error.getMessage());
          }
        };
    String text = "A: 1\nB: " + "v".repeat(20_000) + "\nC: 2\n\nhello\n";
    try (MtaSession mta =
        MtaClient.inProcess(filter, EngineOptions.DEFAULTS, listener, MtaOptions.POSTFIX)) {
      byte[] bytes = text.getBytes(StandardCharsets.ISO_8859_1);
      IPersistentMap report = mta.deliver(Mail.parse("<a@example.org>", RECIPIENTS, bytes));
      assertEquals(Keyword.intern("temporary-failure"), report.valAt(Keyword.intern("verdict")));
    }
    assertEquals(
        List.of(
            "B: the messages that the server is collecting have no more room in 10000"
                + " octets of memory (messageMemory)"),
        failed);
    assertEquals(List.of(), seen);
  }

  private static MessageFilter keepingIn(long octets) {
    return MessageFilter.of((message, connection) -> List.of(Action.accept()))
        .store(MessageStore.builder().messageMemory(octets).build())
        .beside(EventType.END_OF_HEADERS, (event, connection) -> null)
        .build();
  }

  private static Object verdict(MtaSession mta) throws IOException {
    byte[] mail = "A: 1\n\nhello\n".getBytes(StandardCharsets.ISO_8859_1);
    return mta.deliver(Mail.parse("<a@example.org>", RECIPIENTS, mail))
        .valAt(Keyword.intern("verdict"));
  }

  @Test
  void theMessageFiltersOfAServerShareItsMemory() throws IOException {
    MessageFilter roomy = keepingIn(100_000);
    MessageFilter small = keepingIn(20_000);
    MilterFactory alternating =
        connection -> (connection.id() == 1 ? roomy : small).open(connection);
    try (MilterServer server =
            MilterServer.builder(alternating).listenOn("inet:0@127.0.0.1").start();
        MtaSession first = MtaClient.connect(server.endpoint());
        MtaSession second = MtaClient.connect(server.endpoint())) {
      assertEquals(Keyword.intern("accept"), verdict(first));
      assertEquals(Keyword.intern("accept"), verdict(second));
      first.send(
          EventCodec.event(
              EventType.MAIL, Keys.SENDER, "<>", Keys.OPTIONS, PersistentVector.EMPTY));
      first.send(
          EventCodec.event(EventType.HEADER, Keys.NAME, "A", Keys.VALUE, "v".repeat(30_000)));
      first.send(EventCodec.event(EventType.END_OF_HEADERS));
      assertEquals(Keyword.intern("temporary-failure"), verdict(second));
      first.send(EventCodec.event(EventType.ABORT));
      assertEquals(Keyword.intern("accept"), verdict(first));
      assertEquals(Keyword.intern("accept"), verdict(second));
    }
  }

  @Test
  void theMessageFiltersOfASequenceShareItsMemory() throws IOException {
    byte[] mail =
        ("A: " + "v".repeat(12_000) + "\n\nhello\n").getBytes(StandardCharsets.ISO_8859_1);
    MessageFilter small = keepingIn(20_000);
    assertEquals(Keyword.intern("accept"), verdictIn(small, mail));
    assertEquals(
        Keyword.intern("temporary-failure"),
        verdictIn(Filter.inSequence(keepingIn(100_000), small), mail));
  }

  private static Object verdictIn(MilterFactory filter, byte[] mail) throws IOException {
    try (MilterServer server = MilterServer.builder(filter).listenOn("inet:0@127.0.0.1").start();
        MtaSession mta = MtaClient.connect(server.endpoint())) {
      return mta.deliver(Mail.parse("<a@example.org>", RECIPIENTS, mail))
          .valAt(Keyword.intern("verdict"));
    }
  }

  @Test
  void whatCannotWorkIsRefusedWhereItIsBuilt() {
    MessageFilter.Builder builder = MessageFilter.of((message, connection) -> null);
    assertThrows(MilterException.class, () -> builder.at(EventType.BODY));
    assertThrows(MilterException.class, builder::at);
    builder.at(EventType.END_OF_HEADERS).beside(EventType.END_OF_HEADERS, (event, c) -> null);
    MilterException refused = assertThrows(MilterException.class, builder::build);
    assertTrue(refused.getMessage().contains("END_OF_HEADERS is answered by the message filter"));
    assertThrows(MilterException.class, () -> MessageStore.builder().messageMemory(-1));
  }
}
