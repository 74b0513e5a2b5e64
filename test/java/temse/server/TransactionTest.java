package temse.server;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import clojure.lang.PersistentArrayMap;
import java.io.IOException;
import java.time.InstantSource;
import java.util.ArrayList;
import java.util.EnumSet;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import temse.client.MtaClient;
import temse.client.MtaOptions;
import temse.client.MtaSession;
import temse.client.MtaStyle;
import temse.compose.Filter;
import temse.message.MessageFilter;
import temse.protocol.ActionType;
import temse.protocol.AddressFamily;
import temse.protocol.Event;
import temse.protocol.EventType;
import temse.protocol.Fact;
import temse.protocol.MacroStage;
import temse.protocol.MacroTable;
import temse.protocol.MilterException;
import temse.protocol.ProtocolFlag;
import temse.protocol.Request;
import temse.protocol.Transaction;

/** What a handler knows of the SMTP client and its mail, of the facts that it has asked for. */
class TransactionTest {
  private static final List<String> RECIPIENTS = List.of("<b@example.com>", "<c@example.com>");

  private final List<String> seen = new ArrayList<>();

  private static final Map<String, String> MACROS =
      Map.of(
          "{auth_authen}", "ann",
          "{tls_version}", "TLSv1.3",
          "{cipher}", "AES",
          "{cipher_bits}", "256",
          "{cert_subject}", "",
          "j", "mx.example.com");

  private static String described(Transaction of) {
    return String.join(
        " ",
        of.clientAddress().orElse("-"),
        of.clientName().orElse("-"),
        String.valueOf(of.clientPort().orElse(0)),
        of.helloName().orElse("-"),
        of.sender().orElse("-"),
        of.recipients().toString(),
        String.valueOf(of.isSmtpUtf8()),
        of.authenticatedUser().orElse("-"),
        of.tlsVersion().orElse("-"),
        of.cipher().orElse("-"),
        String.valueOf(of.cipherBits().orElse(0)),
        of.certSubject().orElse("-"),
        of.certIssuer().orElse("-"),
        of.queueId().orElse("-"),
        of.mtaName().orElse("-"),
        of.receiveTime().isPresent() ? "timed" : "-");
  }

  private static final String ALL =
      "2001:db8::1 a.example 4711 hello.example <ann@example.org> [<b@example.com>,"
          + " <c@example.com>] false ann TLSv1.3 AES 256 - - 4TEMSE0001 mx.example.com timed";

  private Step<Integer> note(MilterConnection connection, int state) {
    seen.add(described(connection.transaction()));
    return Step.next(state);
  }

  private Milter<Integer> watching(Fact... facts) {
    return Milter.perMessage(() -> 0)
        .wants(facts)
        .on(Event.EndOfMessage.class, (end, n, connection) -> note(connection, n))
        .build();
  }

  private static MtaSession connect(MilterFactory milter, MtaOptions options) throws IOException {
    MtaSession mta =
        MtaClient.inProcess(milter, EngineOptions.DEFAULTS, ServerListener.SILENT, options);
    mta.greet(
        new Event.Connect("a.example", AddressFamily.INET6, 4711, "2001:db8::1").map(),
        "hello.example");
    return mta;
  }

  private static ActionType send(MtaSession mta, String sender) throws IOException {
    return mta.sendMessage(sender, RECIPIENTS, "Subject: hi\n\nhello\n").verdict();
  }

  @ParameterizedTest
  @EnumSource(MtaStyle.class)
  void allFactsAreKnownInAMilterThatHandlesOneEventOnly(MtaStyle style) throws IOException {
    MtaOptions mta = style == MtaStyle.POSTFIX ? MtaOptions.POSTFIX : MtaOptions.SENDMAIL;
    try (MtaSession session = connect(watching(Fact.values()), mta.withMacros(MACROS))) {
      assertEquals(ActionType.ACCEPT, send(session, "<ann@example.org>"));
    }
    assertEquals(List.of(ALL), seen);
  }

  @Test
  void theyAreKnownToAFilterOfSeveralAndToOneOfWholeMessages() throws IOException {
    MessageFilter whole =
        MessageFilter.of(
                (message, connection) -> {
                  note(connection, 0);
                  return List.of();
                })
            .wants(Fact.values())
            .build();
    Filter both = Filter.inSequence(watching(Fact.values()), whole);
    try (MtaSession session = connect(both, MtaOptions.POSTFIX.withMacros(MACROS))) {
      assertEquals(ActionType.ACCEPT, send(session, "<ann@example.org>"));
    }
    assertEquals(List.of(ALL, ALL), seen);
  }

  @Test
  void factsOfAMailEndWithIt() throws IOException {
    List<String> senders = new ArrayList<>();
    Milter<Integer> milter =
        Milter.perClient(() -> 0)
            .wants(Fact.SENDER, Fact.RECIPIENTS)
            .on(
                Event.EndOfMessage.class,
                (end, n, connection) -> {
                  Transaction transaction = connection.transaction();
                  senders.add(transaction.sender().get() + transaction.recipients().size());
                  return Step.next(n);
                })
            .on(
                Event.MessageEnd.class,
                (end, n, connection) -> {
                  senders.add(connection.transaction().sender().get());
                  return Step.next(n);
                })
            .build();
    try (MtaSession session = connect(milter, MtaOptions.POSTFIX)) {
      send(session, "<a@example.org>");
      send(session, "<>");
    }
    assertEquals(List.of("<a@example.org>2", "<a@example.org>", "<>2", "<>"), senders);
  }

  @Test
  void aFactThatWasNotAskedForDefersTheMail() throws IOException {
    try (MtaSession session = connect(watching(Fact.SENDER), MtaOptions.POSTFIX)) {
      assertEquals(ActionType.TEMPORARY_FAILURE, send(session, "<a@example.org>"));
    }
    MilterException error =
        assertThrows(MilterException.class, () -> Transaction.of(List.of(Fact.SENDER)).cipher());
    assertEquals(MilterException.Category.BAD_OPTIONS, error.category());
    assertTrue(error.getMessage().contains("CIPHER"), error.getMessage());
  }

  @Test
  void theMtaIsAskedForWhatFactsNeedAndWaitsForNoReplyToIt() throws IOException {
    try (MtaSession session =
        connect(watching(Fact.SENDER, Fact.CLIENT_NAME), MtaOptions.POSTFIX)) {
      assertTrue(session.wanted(EventType.CONNECT) && session.wanted(EventType.MAIL));
      assertFalse(session.wanted(EventType.RECIPIENT) || session.wanted(EventType.HELLO));
      assertTrue(session.agreed(ProtocolFlag.NO_REPLY_CONNECT));
    }
  }

  @Test
  void macrosOfFactsAreAskedForBesideThoseOfTheMilterOrTheUsualOnes() {
    Request request =
        Request.builder()
            .macros(MacroStage.MAIL, List.of("{mail_addr}", "auth_authen"))
            .facts(List.of(Fact.AUTHENTICATED_USER, Fact.MTA_NAME, Fact.CIPHER))
            .build();
    assertEquals(
        List.of("{mail_addr}", "auth_authen", "{cipher}"), request.macros().get(MacroStage.MAIL));
    assertEquals(MacroStage.CONNECT.usual, request.macros().get(MacroStage.CONNECT));
    assertEquals(EnumSet.noneOf(EventType.class), request.events());
  }

  @Test
  void aClientWhoseNameIsNotProvedHasNone() {
    assertEquals(Optional.of("a.example"), name("a.example"));
    assertEquals(Optional.empty(), name("unknown"));
    assertEquals(Optional.empty(), name("[192.0.2.1]"));
  }

  private static Optional<String> name(String hostName) {
    Event connect = new Event.Connect(hostName, AddressFamily.INET, 25, "192.0.2.1");
    return Transaction.of(List.of(Fact.CLIENT_NAME))
        .after(EventType.CONNECT, connect.map(), MacroTable.EMPTY, InstantSource.system())
        .clientName();
  }

  @Test
  void aHandlerCanBeCalledWithFactsOfATest() {
    Transaction known =
        Transaction.known(
            PersistentArrayMap.EMPTY.assoc(Fact.SENDER.keyword, "<a@example.org>"),
            MacroTable.EMPTY);
    assertEquals(Optional.of("<a@example.org>"), known.sender());
    assertEquals(Optional.empty(), known.clientAddress());
    assertEquals(List.of(), known.recipients());
    assertEquals(Optional.empty(), known.cipher());
  }
}
