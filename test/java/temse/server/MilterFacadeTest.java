package temse.server;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import clojure.lang.Keyword;
import clojure.lang.PersistentVector;
import clojure.lang.RT;
import java.io.File;
import java.io.IOException;
import java.net.URISyntaxException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.OptionalInt;
import java.util.concurrent.CompletableFuture;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import temse.client.MessageReport;
import temse.client.MtaClient;
import temse.client.MtaOptions;
import temse.client.MtaSession;
import temse.client.MtaStyle;
import temse.protocol.ActionFlag;
import temse.protocol.ActionType;
import temse.protocol.Actions;
import temse.protocol.Event;
import temse.protocol.EventCodec;
import temse.protocol.EventType;
import temse.protocol.Keys;
import temse.protocol.MacroStage;
import temse.protocol.Offer;
import temse.protocol.ProtocolFlag;

/** Milters as a Java team writes them: state in, step out. */
class MilterFacadeTest {
  private static final String MESSAGE = "Subject: hi\nX-A: 1\n\nhello\n";
  private static final List<String> RECIPIENTS = List.of("<b@example.com>", "<c@example.net>");

  private static MtaSession connect(Milter<?> milter) throws IOException {
    return connect(milter, MtaOptions.POSTFIX);
  }

  private static MtaSession connect(Milter<?> milter, MtaOptions options) throws IOException {
    return MtaClient.inProcess(milter, EngineOptions.DEFAULTS, ServerListener.SILENT, options);
  }

  private static MessageReport send(MtaSession mta) throws IOException {
    return mta.sendMessage("<a@example.org>", RECIPIENTS, MESSAGE);
  }

  private static Milter.Builder<Integer> counting() {
    return marking().on(EventType.HEADER, (event, count) -> Step.next(count + 1));
  }

  private static Milter.Builder<Integer> marking() {
    return Milter.startingWith(() -> 0)
        .requires(ActionFlag.ADD_HEADER)
        .on(
            EventType.END_OF_MESSAGE,
            (event, count) -> Step.next(count).respond(Actions.addHeader("X-Count", "" + count)));
  }

  @Test
  void aHandlerIsTestedByCallingIt() throws Exception {
    Milter.Handler<Integer> handler = (event, count) -> Step.next(count + event.name().length());
    Step<Integer> step =
        handler.handle(
            Event.of(EventCodec.event(EventType.HEADER, Keys.NAME, "X-A", Keys.VALUE, "1")), 4);
    assertEquals(7, step.state());
    assertEquals(List.of(), step.actions());
    assertEquals(List.of(Actions.accept()), step.respond(Actions.accept()).actions());
  }

  @ParameterizedTest
  @EnumSource(MtaStyle.class)
  void theStateGoesFromStepToStepAndFromMessageToMessage(MtaStyle style) throws IOException {
    MtaOptions options = style == MtaStyle.POSTFIX ? MtaOptions.POSTFIX : MtaOptions.SENDMAIL;
    try (MtaSession mta = connect(counting().build(), options)) {
      for (String count : List.of("2", "4")) {
        MessageReport report = send(mta);
        assertEquals(ActionType.ACCEPT, report.verdict());
        assertEquals(EventType.END_OF_MESSAGE, report.at());
        assertEquals(Actions.proceed(), report.reply());
        assertEquals(List.of(Actions.addHeader("X-Count", count)), report.modifications());
        assertEquals(RECIPIENTS, List.copyOf(report.recipients().keySet()));
      }
    }
  }

  @Test
  void everyClientBeginsWithAStateOfItsOwn() throws IOException {
    Milter<Integer> milter = counting().build();
    for (int i = 0; i < 2; i++) {
      try (MtaSession mta = connect(milter)) {
        assertEquals(List.of(Actions.addHeader("X-Count", "2")), send(mta).modifications());
      }
    }
    DrivenEngine mta = new DrivenEngine(milter, EngineOptions.DEFAULTS);
    mta.say(DrivenEngine.OFFER);
    for (int client = 0; client < 2; client++) {
      List<String> replies =
          mta.say(
              DrivenEngine.MAIL,
              DrivenEngine.RCPT,
              DrivenEngine.HEADER,
              DrivenEngine.EOM,
              DrivenEngine.QUIT_NC);
      assertEquals(List.of("c", "c", "c", "hX-Count|1|", "c"), replies);
    }
  }

  @Test
  void aReplyAtARecipientConcernsThatRecipient() throws IOException {
    Milter<Integer> milter =
        Milter.startingWith(() -> 0)
            .on(
                EventType.RECIPIENT,
                (event, count) ->
                    event.address().endsWith("@example.net>")
                        ? Step.next(count).respond(Actions.replyCode(550, "5.1.2", "Not here"))
                        : Step.next(count))
            .build();
    try (MtaSession mta = connect(milter)) {
      MessageReport report = send(mta);
      assertEquals(ActionType.ACCEPT, report.verdict());
      assertEquals(Actions.proceed(), report.recipients().get("<b@example.com>"));
      assertEquals(
          Actions.replyCode(550, "5.1.2", "Not here"), report.recipients().get("<c@example.net>"));
    }
  }

  @Test
  void whatIsOnlyWatchedIsNotWaitedFor() throws IOException {
    Milter<Integer> milter =
        marking().watch(EventType.HEADER, (event, count) -> Step.next(count + 10)).build();
    try (MtaSession mta = connect(milter)) {
      assertTrue(mta.agreed(ProtocolFlag.NO_REPLY_HEADERS));
      assertFalse(mta.owesReply(EventType.HEADER));
      assertEquals(List.of(Actions.addHeader("X-Count", "20")), send(mta).modifications());
    }
  }

  @Test
  void aStepThatComesLaterHoldsTheEventOpen() throws IOException {
    CompletableFuture<Step<Integer>> later = new CompletableFuture<>();
    Milter<Integer> milter =
        counting()
            .on(
                EventType.END_OF_HEADERS,
                (event, count) -> {
                  later.completeAsync(() -> Step.next(count + 100));
                  return Step.later(later);
                })
            .build();
    try (MtaSession mta = connect(milter)) {
      assertEquals(List.of(Actions.addHeader("X-Count", "102")), send(mta).modifications());
    }
  }

  @Test
  void theConnectionTellsMacrosThatWereAskedFor() throws IOException {
    Milter<String> milter =
        Milter.startingWith(() -> "")
            .wants(ActionFlag.ADD_HEADER)
            .macros(MacroStage.MAIL, "{client_addr}")
            .on(
                EventType.MAIL,
                (event, state, connection) -> Step.next(connection.macros().get("client_addr")))
            .on(
                EventType.END_OF_MESSAGE,
                (event, state) -> Step.next(state).respond(Actions.addHeader("X-Client", state)))
            .build();
    try (MtaSession mta = connect(milter)) {
      assertEquals(List.of(Actions.addHeader("X-Client", "192.0.2.1")), send(mta).modifications());
    }
  }

  @Test
  void aHandlerThatThrowsDefersTheMailAndKeepsTheState() throws IOException {
    try (MtaSession mta = connect(failing().build())) {
      for (int i = 0; i < 2; i++) {
        assertEquals(ActionType.TEMPORARY_FAILURE, send(mta).verdict());
      }
    }
  }

  @Test
  void theErrorPolicyAnswersInPlaceOfAFailedHandler() throws IOException {
    Milter<Integer> milter =
        failing()
            .onError(
                (error, event) ->
                    List.of(Actions.replyCode(451, null, error.getMessage() + event.name())))
            .build();
    try (MtaSession mta = connect(milter)) {
      assertEquals(Actions.replyCode(451, null, "no Subject"), send(mta).reply());
    }
  }

  private static Milter.Builder<Integer> failing() {
    return Milter.startingWith(() -> 0)
        .on(
            EventType.HEADER,
            (event, count) -> {
              throw new IllegalStateException("no ");
            });
  }

  @Test
  void anActionThatIsRequiredAndNotOfferedIsRefusedAndOneThatIsWantedIsNot() throws IOException {
    MtaOptions poor = MtaOptions.POSTFIX.withOffer(new Offer(6, 0x20, 0x1FFFFF));
    assertThrows(IOException.class, () -> connect(counting().build(), poor));
    Milter<Integer> modest =
        Milter.startingWith(() -> 0)
            .wants(ActionFlag.ADD_HEADER)
            .on(EventType.MAIL, (event, count) -> Step.next(count))
            .build();
    try (MtaSession mta = connect(modest, poor)) {
      assertEquals(ActionType.ACCEPT, send(mta).verdict());
    }
  }

  @Test
  void optionsOfTheNegotiationAreAskedFor() throws IOException {
    Milter<Integer> milter =
        counting()
            .rejectedRecipients()
            .on(EventType.RECIPIENT, (event, count) -> Step.next(count))
            .leadingSpace()
            .build();
    try (MtaSession mta = connect(milter)) {
      assertTrue(mta.agreed(ProtocolFlag.REJECTED_RECIPIENTS));
      assertTrue(mta.agreed(ProtocolFlag.LEADING_SPACE));
      assertTrue(mta.agreed(ProtocolFlag.NO_BODY));
    }
  }

  // Events

  @Test
  void anEventNamesItsKeys() {
    Event connect =
        Event.of(
            EventCodec.decode(
                EventCodec.encode(
                    EventCodec.event(
                        EventType.CONNECT,
                        Keys.HOST_NAME,
                        "client.example.org",
                        Keys.FAMILY,
                        Keyword.intern("inet"),
                        Keys.PORT,
                        25L,
                        Keys.ADDRESS,
                        "192.0.2.1"))));
    assertEquals(EventType.CONNECT, connect.type());
    assertEquals("client.example.org", connect.hostName());
    assertEquals("inet", connect.family());
    assertEquals(OptionalInt.of(25), connect.port());
    assertEquals("192.0.2.1", connect.address());

    Event mail =
        Event.of(
            EventCodec.event(
                EventType.MAIL,
                Keys.SENDER,
                "<a@example.org>",
                Keys.OPTIONS,
                PersistentVector.create("SIZE=1")));
    assertEquals("<a@example.org>", mail.sender());
    assertEquals(List.of("SIZE=1"), mail.options());
    assertEquals("mail :sender <a@example.org> :options [SIZE=1]", mail.toString());

    byte[] data = {1, 2};
    Event body = Event.of(EventCodec.event(EventType.BODY, Keys.DATA, data));
    assertArrayEquals(data, body.data());
    assertEquals("body :data 2 bytes", body.toString());
    assertEquals("x", Event.of(EventCodec.event(EventType.UNKNOWN, Keys.COMMAND, "x")).command());
    assertEquals("h", Event.of(EventCodec.event(EventType.HELLO, Keys.GREETING, "h")).greeting());
  }

  @Test
  void aClientOfUnknownFamilyHasNoPort() {
    Event connect =
        Event.of(
            EventCodec.event(
                EventType.CONNECT,
                Keys.HOST_NAME,
                "localhost",
                Keys.FAMILY,
                Keyword.intern("unknown")));
    assertEquals(OptionalInt.empty(), connect.port());
    assertThrows(IllegalStateException.class, connect::address);
  }

  @Test
  void whatAnEventDoesNotHaveIsRefusedWithWhatItHas() {
    Event hello = Event.of(EventCodec.event(EventType.HELLO, Keys.GREETING, "h"));
    for (Runnable accessor : List.<Runnable>of(hello::name, hello::data, hello::port)) {
      IllegalStateException e = assertThrows(IllegalStateException.class, accessor::run);
      assertTrue(e.getMessage().contains("the event :hello has no"), e.getMessage());
      assertTrue(e.getMessage().endsWith("it has :event :greeting"), e.getMessage());
    }
    assertThrows(IllegalArgumentException.class, () -> Event.of(Actions.accept()));
  }

  @Test
  void aReasonIsAWord() throws IOException {
    List<String> reasons = new ArrayList<>();
    Milter<Integer> milter =
        Milter.startingWith(() -> 0)
            .on(EventType.MESSAGE_END, (event, state) -> note(reasons, event))
            .on(EventType.DISCONNECT, (event, state) -> note(reasons, event))
            .build();
    try (MtaSession mta = connect(milter)) {
      send(mta);
    }
    assertEquals(List.of("message-end accepted", "disconnect quit"), reasons);
  }

  private static Step<Integer> note(List<String> reasons, Event event) {
    reasons.add(event.type().keyword.getName() + " " + event.reason());
    return Step.next(0);
  }

  // Class loading

  @Test
  void aJavaProgramLoadsNoClojureCode() throws Exception {
    List<String> command =
        List.of(
            Path.of(System.getProperty("java.home"), "bin", "java").toString(),
            "-Xlog:class+load",
            "-XX:TieredStopAtLevel=1",
            "-cp",
            Stream.of(Milter.class, MilterFacadeTest.class, RT.class)
                .map(MilterFacadeTest::location)
                .collect(Collectors.joining(File.pathSeparator)),
            Program.class.getName());
    Process process = new ProcessBuilder(command).redirectErrorStream(true).start();
    process.getOutputStream().close();
    String output = new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
    String said =
        output.lines().filter(l -> !l.contains("class,load")).collect(Collectors.joining("\n"));

    assertEquals(0, process.waitFor(), said);
    assertTrue(output.contains("temse.server.ConnectionEngine"), "classes are logged");
    assertEquals(
        List.of(),
        output.lines().filter(line -> line.contains("clojure.core")).limit(5).toList(),
        "the core is loaded");
    assertTrue(said.contains("handler failed at mail :sender <a@example.org>"), said);
  }

  private static String location(Class<?> type) {
    try {
      return Path.of(type.getProtectionDomain().getCodeSource().getLocation().toURI()).toString();
    } catch (URISyntaxException e) {
      throw new IllegalStateException(e);
    }
  }

  /** Uses the façade, the logging listener and the MTA's side, failures included. */
  static final class Program {
    private Program() {}

    public static void main(String[] args) throws IOException {
      Milter.Builder<Integer> builder = Milter.startingWith(() -> 0);
      System.out.println(Event.of(Offer.CURRENT.event()));
      for (EventType type : ScriptedHandler.ALL) {
        builder.on(
            type,
            (event, state) -> {
              throw new IllegalStateException(event.toString());
            });
      }
      builder.onError((error, event) -> List.of(Actions.proceed()));
      ServerListener listener =
          new SystemLoggerListener(System.getLogger(MilterFacadeTest.class.getName()));
      try (MtaSession mta =
          MtaClient.inProcess(
              builder.build(), EngineOptions.DEFAULTS, listener, MtaOptions.POSTFIX)) {
        System.out.println(send(mta).verdict());
        mta.send(EventCodec.event(EventType.UNKNOWN, Keys.COMMAND, "FOO"));
      }
      try {
        connect(counting().build(), MtaOptions.POSTFIX.withOffer(new Offer(1, 0, 0)));
      } catch (IOException refused) {
        System.out.println(refused.getMessage());
      }
    }
  }
}
