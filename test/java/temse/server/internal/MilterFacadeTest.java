package temse.server.internal;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import clojure.lang.PersistentArrayMap;
import clojure.lang.RT;
import java.io.File;
import java.io.IOException;
import java.net.URISyntaxException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
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
import temse.protocol.Action;
import temse.protocol.ActionFlag;
import temse.protocol.ActionType;
import temse.protocol.DisconnectReason;
import temse.protocol.Event;
import temse.protocol.EventType;
import temse.protocol.MacroStage;
import temse.protocol.MessageEndReason;
import temse.protocol.Offer;
import temse.protocol.ProtocolFlag;
import temse.server.ClientAndMessage;
import temse.server.EngineOptions;
import temse.server.Milter;
import temse.server.ServerListener;
import temse.server.Step;
import temse.server.SystemLoggerListener;

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
    return marking().on(Event.Header.class, (event, count) -> Step.next(count + 1));
  }

  private static Milter.Builder<Integer> marking() {
    return Milter.perClient(() -> 0)
        .requires(ActionFlag.ADD_HEADER)
        .on(
            Event.EndOfMessage.class,
            (event, count) -> Step.next(count).respond(Action.addHeader("X-Count", "" + count)));
  }

  @Test
  void aHandlerIsTestedByCallingIt() throws Exception {
    Milter.Handler<Event.Header, Integer> handler =
        (header, count) -> Step.next(count + header.name().length());
    Step<? extends Integer> step = handler.handle(new Event.Header("X-A", "1", 1), 4);
    assertEquals(7, step.state());
    assertEquals(List.of(), step.actions());
    assertEquals(List.of(Action.accept()), step.respond(Action.accept()).actions());
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
        assertEquals(Action.proceed(), report.reply());
        assertEquals(List.of(Action.addHeader("X-Count", count)), report.modifications());
        assertEquals(RECIPIENTS, List.copyOf(report.recipients().keySet()));
      }
    }
  }

  @Test
  void everyClientBeginsWithAStateOfItsOwn() throws IOException {
    Milter<Integer> milter = counting().build();
    for (int i = 0; i < 2; i++) {
      try (MtaSession mta = connect(milter)) {
        assertEquals(List.of(Action.addHeader("X-Count", "2")), send(mta).modifications());
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
        Milter.perClient(() -> 0)
            .on(
                Event.Recipient.class,
                (event, count) ->
                    event.address().endsWith("@example.net>")
                        ? Step.next(count).respond(Action.replyCode(550, "5.1.2", "Not here"))
                        : Step.next(count))
            .build();
    try (MtaSession mta = connect(milter)) {
      MessageReport report = send(mta);
      assertEquals(ActionType.ACCEPT, report.verdict());
      assertEquals(Action.proceed(), report.recipients().get("<b@example.com>"));
      assertEquals(
          Action.replyCode(550, "5.1.2", "Not here"), report.recipients().get("<c@example.net>"));
    }
  }

  @Test
  void whatIsOnlyWatchedIsNotWaitedFor() throws IOException {
    Milter<Integer> milter =
        marking().watch(Event.Header.class, (event, count) -> Step.next(count + 10)).build();
    try (MtaSession mta = connect(milter)) {
      assertTrue(mta.agreed(ProtocolFlag.NO_REPLY_HEADERS));
      assertFalse(mta.owesReply(EventType.HEADER));
      assertEquals(List.of(Action.addHeader("X-Count", "20")), send(mta).modifications());
    }
  }

  @Test
  void aStepThatComesLaterHoldsTheEventOpen() throws IOException {
    CompletableFuture<Step<Integer>> later = new CompletableFuture<>();
    Milter<Integer> milter =
        counting()
            .on(
                Event.EndOfHeaders.class,
                (event, count) -> {
                  later.completeAsync(() -> Step.next(count + 100));
                  return Step.later(later);
                })
            .build();
    try (MtaSession mta = connect(milter)) {
      assertEquals(List.of(Action.addHeader("X-Count", "102")), send(mta).modifications());
    }
  }

  @Test
  void theConnectionTellsMacrosThatWereAskedFor() throws IOException {
    Milter<String> milter =
        Milter.perClient(() -> "")
            .wants(ActionFlag.ADD_HEADER)
            .macros(MacroStage.MAIL, "{client_addr}")
            .on(
                Event.Mail.class,
                (event, state, connection) -> Step.next(connection.macros().get("client_addr")))
            .on(
                Event.EndOfMessage.class,
                (event, state) -> Step.next(state).respond(Action.addHeader("X-Client", state)))
            .build();
    try (MtaSession mta = connect(milter)) {
      assertEquals(List.of(Action.addHeader("X-Client", "192.0.2.1")), send(mta).modifications());
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
                    List.of(
                        Action.replyCode(
                            451, null, error.getMessage() + ((Event.Header) event).name())))
            .build();
    try (MtaSession mta = connect(milter)) {
      assertEquals(Action.replyCode(451, null, "no Subject"), send(mta).reply());
    }
  }

  private static Milter.Builder<Integer> failing() {
    return Milter.perClient(() -> 0)
        .on(
            Event.Header.class,
            (event, count) -> {
              throw new IllegalStateException("no ");
            });
  }

  @Test
  void anActionThatIsRequiredAndNotOfferedIsRefusedAndOneThatIsWantedIsNot() throws IOException {
    MtaOptions poor = MtaOptions.POSTFIX.withOffer(new Offer(6, 0x20, 0x1FFFFF));
    assertThrows(IOException.class, () -> connect(counting().build(), poor));
    Milter<Integer> modest =
        Milter.perClient(() -> 0)
            .wants(ActionFlag.ADD_HEADER)
            .on(Event.Mail.class, (event, count) -> Step.next(count))
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
            .on(Event.Recipient.class, (event, count) -> Step.next(count))
            .leadingSpace()
            .build();
    try (MtaSession mta = connect(milter)) {
      assertTrue(mta.agreed(ProtocolFlag.REJECTED_RECIPIENTS));
      assertTrue(mta.agreed(ProtocolFlag.LEADING_SPACE));
      assertTrue(mta.agreed(ProtocolFlag.NO_BODY));
    }
  }

  @Test
  void aStateOfAMessageBeginsAnewWithEachMessage() throws IOException {
    Milter<Integer> milter =
        Milter.perMessage(() -> 0)
            .requires(ActionFlag.ADD_HEADER)
            .on(Event.Connect.class, (connect, count) -> Step.next(count + 100))
            .on(Event.Header.class, (header, count) -> Step.next(count + 1))
            .on(Event.EndOfMessage.class, MilterFacadeTest::addCount)
            .build();
    try (MtaSession mta = connect(milter)) {
      for (int i = 0; i < 2; i++) {
        assertEquals(List.of(Action.addHeader("X-Count", "2")), send(mta).modifications());
      }
    }
  }

  @Test
  void aMilterWithAStateOfMessagesIsAskedAboutTheirBeginnings() throws IOException {
    try (MtaSession mta =
        connect(
            Milter.perMessage(() -> 0)
                .on(Event.Header.class, (header, count) -> Step.next(count + 1))
                .build())) {
      assertFalse(mta.agreed(ProtocolFlag.NO_MAIL));
      assertTrue(mta.agreed(ProtocolFlag.NO_RECIPIENT));
    }
  }

  private static Step<Integer> addCount(Event.EndOfMessage end, int count) {
    return Step.next(count).respond(Action.addHeader("X-Count", "" + count));
  }

  @Test
  void aMilterKeepsAStateOfTheClientAndOneOfTheMessage() throws IOException {
    List<ClientAndMessage<String, Integer>> ended = new ArrayList<>();
    Milter<ClientAndMessage<String, Integer>> milter =
        Milter.perClientAndMessage(() -> "", String::length)
            .on(Event.Hello.class, (hello, state) -> Step.next(state.withClient("four")))
            .on(
                Event.Header.class,
                (header, state) -> Step.next(state.withMessage(state.message() + 1)))
            .on(
                Event.EndOfMessage.class,
                (end, state) -> Step.next(state.withClient(state.client() + "!")))
            .on(
                Event.MessageEnd.class,
                (end, state) -> {
                  ended.add(state);
                  return Step.next(state);
                })
            .on(
                Event.Disconnect.class,
                (disconnect, state) -> {
                  ended.add(state);
                  return Step.next(state);
                })
            .build();
    try (MtaSession mta = connect(milter)) {
      send(mta);
      send(mta);
    }
    assertEquals(
        List.of(
            new ClientAndMessage<>("four!", 6),
            new ClientAndMessage<>("four!!", 7),
            new ClientAndMessage<>("four!!", null)),
        ended);
  }

  @Test
  void aHandlerMayReturnAStepOfANarrowerState() throws IOException {
    Milter<Number> milter =
        Milter.<Number>perMessage(() -> 0)
            .requires(ActionFlag.ADD_HEADER)
            .on(Event.Header.class, MilterFacadeTest::fraction)
            .on(
                Event.EndOfMessage.class,
                (end, state) -> Step.next(state).respond(Action.addHeader("X", "" + state)))
            .build();
    try (MtaSession mta = connect(milter)) {
      assertEquals(List.of(Action.addHeader("X", "0.5")), send(mta).modifications());
    }
  }

  private static Step<Double> fraction(Event.Header header, Number state) {
    return Step.later(CompletableFuture.completedFuture(Step.next(0.5)));
  }

  @Test
  void reasonsAreEnums() throws IOException {
    List<Object> reasons = new ArrayList<>();
    Milter<Integer> milter =
        Milter.perClient(() -> 0)
            .on(
                Event.MessageEnd.class,
                (end, state) -> {
                  reasons.addAll(List.of(end.reason(), end.at()));
                  return Step.next(state);
                })
            .on(
                Event.Disconnect.class,
                (disconnect, state) -> {
                  reasons.add(disconnect.reason());
                  return Step.next(state);
                })
            .build();
    try (MtaSession mta = connect(milter)) {
      send(mta);
    }
    assertEquals(
        List.of(MessageEndReason.ACCEPTED, EventType.END_OF_MESSAGE, DisconnectReason.QUIT),
        reasons);
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
    assertTrue(output.contains("temse.server.internal.ConnectionEngine"), "classes are logged");
    assertEquals(
        List.of(),
        output.lines().filter(line -> line.contains("clojure.core")).limit(5).toList(),
        "the core is loaded");
    assertTrue(said.contains("handler failed at mail sender=<a@example.org>"), said);
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
      Milter.Builder<Integer> builder = Milter.perClient(() -> 0);
      System.out.println(Event.of(Offer.CURRENT.event()));
      for (EventType type : ScriptedHandler.ALL) {
        builder.on(
            Event.view(type, PersistentArrayMap.EMPTY).getClass(),
            (event, state) -> {
              throw new IllegalStateException(event.toString());
            });
      }
      builder.onError((error, event) -> List.of(Action.proceed()));
      ServerListener listener =
          new SystemLoggerListener(System.getLogger(MilterFacadeTest.class.getName()));
      try (MtaSession mta =
          MtaClient.inProcess(
              builder.build(), EngineOptions.DEFAULTS, listener, MtaOptions.POSTFIX)) {
        System.out.println(send(mta));
        System.out.println(Action.addRecipient("<a>", "NOTIFY=NEVER").hashCode());
        mta.sendEvent(new Event.Unknown("FOO"));
      }
      try {
        connect(counting().build(), MtaOptions.POSTFIX.withOffer(new Offer(1, 0, 0)));
      } catch (IOException refused) {
        System.out.println(refused.getMessage());
      }
    }
  }
}
