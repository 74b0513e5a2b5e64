package temse.server.internal;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static temse.server.internal.DrivenEngine.EOM;
import static temse.server.internal.DrivenEngine.MAIL;
import static temse.server.internal.DrivenEngine.RCPT;

import clojure.lang.IPersistentMap;
import clojure.lang.Keyword;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.function.UnaryOperator;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;
import temse.protocol.Action;
import temse.protocol.ActionFlag;
import temse.protocol.Event;
import temse.protocol.Keys;
import temse.protocol.MilterException;
import temse.protocol.MilterException.Category;
import temse.server.EngineOptions;
import temse.server.Milter;
import temse.server.Step;

/** Nothing that somebody writes with Milter and Step is ignored: it works, or it is refused. */
class MilterMistakesTest {
  private static final Milter.Handler<Event, Integer> GOES_ON = (event, count) -> Step.next(count);

  private static Milter.Builder<Integer> builder() {
    return Milter.perClient(() -> 0);
  }

  private static DrivenEngine mta(Milter.Builder<Integer> builder) {
    DrivenEngine mta = new DrivenEngine(builder.build(), EngineOptions.DEFAULTS);
    mta.say(DrivenEngine.OFFER);
    return mta;
  }

  private static DrivenEngine answering(Milter.Handler<Event, Integer> atMail) {
    return mta(builder().on(Event.Mail.class, atMail));
  }

  // ---- steps

  @Test
  void aStepThatComesLaterNeedsAStage() {
    assertThrows(NullPointerException.class, () -> Step.<Integer>later(null));
  }

  @Test
  void aStepThatComesLaterHasNoResponseOfItsOwn() {
    Step<Integer> later = Step.later(CompletableFuture.completedFuture(Step.next(1)));
    assertThrows(IllegalStateException.class, () -> later.respond(Action.reject()));
    assertThrows(IllegalStateException.class, () -> later.respond());

    DrivenEngine mta = answering((event, count) -> later.respond(Action.reject()));
    assertEquals(List.of("t"), mta.say(MAIL));
  }

  @Test
  void aResponseIsGivenOnce() {
    Step<Integer> step = Step.next(1).respond(Action.addHeader("X", "y"));
    assertThrows(IllegalStateException.class, () -> step.respond(Action.accept()));
    assertEquals(
        List.of(Action.accept()), Step.next(1).respond().respond(Action.accept()).actions());
  }

  @Test
  void aStageMayYieldAnotherStepThatComesLaterWithItsResponseAndItsState() {
    Milter.Builder<Integer> builder =
        builder()
            .on(
                Event.Mail.class,
                (event, count) ->
                    Step.later(
                        CompletableFuture.completedFuture(
                            Step.later(CompletableFuture.supplyAsync(() -> Step.next(7))))))
            .on(
                Event.Recipient.class,
                (event, count) ->
                    Step.later(
                        CompletableFuture.completedFuture(
                            Step.later(
                                CompletableFuture.completedFuture(
                                    Step.next(count)
                                        .respond(Action.replyCode(550, null, "" + count)))))));
    DrivenEngine mta = mta(builder);
    mta.say(MAIL);
    java.util.ArrayList<String> replies = new java.util.ArrayList<>();
    while (replies.isEmpty()) {
      Thread.onSpinWait();
      replies.addAll(mta.runTasks());
    }
    assertEquals(List.of("c"), replies);
    mta.say(RCPT);
    assertEquals(List.of("y550 5.0.0 7|"), mta.runTasks());
  }

  static Stream<CompletableFuture<Step<Integer>>> stagesWithoutAStep() {
    return Stream.of(
        CompletableFuture.completedFuture(null),
        CompletableFuture.completedFuture(
            Step.later(CompletableFuture.completedFuture((Step<Integer>) null))),
        CompletableFuture.failedFuture(new IllegalStateException("at will")),
        CompletableFuture.failedFuture(new OutOfMemoryError("at will")),
        CompletableFuture.completedFuture(
            Step.later(CompletableFuture.failedFuture(new AssertionError("at will")))));
  }

  @ParameterizedTest
  @MethodSource("stagesWithoutAStep")
  void aStageThatYieldsNoStepDefersAndKeepsTheState(CompletableFuture<Step<Integer>> stage) {
    DrivenEngine mta =
        mta(
            builder()
                .on(Event.Hello.class, (event, count) -> Step.next(5))
                .on(Event.Mail.class, (event, count) -> Step.later(stage))
                .on(
                    Event.Unknown.class,
                    (event, count) ->
                        Step.next(count).respond(Action.replyCode(500, null, "" + count))));
    mta.say(DrivenEngine.HELO, MAIL);
    assertEquals(List.of("t"), mta.runTasks());
    assertEquals(List.of("y500 5|"), mta.say("Ufoo|"));
  }

  @Test
  void aHandlerThatReturnsNullHasFailed() {
    DrivenEngine mta = answering((event, count) -> null);
    assertEquals(List.of("t"), mta.say(MAIL));
    assertEquals(List.of("failed MAIL BAD_HANDLER_RETURN"), mta.reports());
  }

  static Object[][] wrongResponses() {
    Action header = Action.addHeader("X", "y");
    return new Object[][] {
      {new Action[] {Action.accept(), header}, Category.LATE_ACTION},
      {new Action[] {header, Action.reject(), header}, Category.LATE_ACTION},
      {new Action[] {Action.accept(), Action.accept()}, Category.DOUBLE_REPLY},
      {new Action[] {Action.proceed(), Action.reject()}, Category.DOUBLE_REPLY}
    };
  }

  @ParameterizedTest
  @MethodSource("wrongResponses")
  void aResponseThatCannotBeSentIsRefusedWhereItIsWritten(Action[] response, Category category) {
    assertEquals(
        category,
        assertThrows(MilterException.class, () -> Step.next(0).respond(response)).category());
    DrivenEngine mta = answering((event, count) -> Step.next(count).respond(response));
    assertEquals(List.of("t"), mta.say(MAIL));
  }

  static Stream<IPersistentMap> wrongActions() {
    IPersistentMap header = Action.addHeader("X", "y").map();
    return Stream.of(
        ScriptedHandler.typed("acept"),
        ScriptedHandler.typed("progress"),
        header.without(Keys.VALUE),
        header.without(Keys.VALUE).assoc(Keyword.intern("vlaue"), "y"),
        ScriptedHandler.typed("change-header", Keys.NAME, "Subject", Keyword.intern("vlaue"), "x"),
        ScriptedHandler.typed("reply-code", Keys.SMTP_CODE, 550L, Keyword.intern("message"), "x"),
        new Event.Header("X", "y", 1).map());
  }

  @ParameterizedTest
  @MethodSource("wrongActions")
  void aMapThatIsNoActionIsRefusedWhereItIsWrapped(IPersistentMap map) {
    assertEquals(
        Category.BAD_ACTION, assertThrows(MilterException.class, () -> Action.of(map)).category());
  }

  // ---- builders

  static List<UnaryOperator<Milter.Builder<Integer>>> wrongBuilders() {
    return List.of(
        it -> it.on(Event.Mail.class, GOES_ON).on(Event.Mail.class, GOES_ON),
        it -> it.watch(Event.Mail.class, GOES_ON).on(Event.Mail.class, GOES_ON),
        it -> it.on(Event.Body.class, GOES_ON).watch(Event.Body.class, GOES_ON),
        it -> it.watch(Event.Body.class, GOES_ON).watch(Event.Body.class, GOES_ON),
        it ->
            it.on(Event.Header.class, GOES_ON)
                .on(Event.Header.class, (event, count, connection) -> Step.next(count)),
        it -> it.watch(Event.EndOfMessage.class, GOES_ON),
        it -> it.on(Event.Options.class, GOES_ON),
        it -> it.watch(Event.Options.class, GOES_ON),
        it -> it.on(Event.Mail.class, (Milter.Handler<Event, Integer>) null),
        it -> it.on(Event.Mail.class, (Milter.ConnectionHandler<Event, Integer>) null),
        it -> it.watch(Event.Mail.class, null),
        it -> it.on(null, GOES_ON),
        it -> it.on(Event.class, GOES_ON),
        it -> it.watch(null, GOES_ON),
        it -> it.onError(null));
  }

  @ParameterizedTest
  @MethodSource("wrongBuilders")
  void whatCannotWorkIsRefusedWhereItIsWritten(UnaryOperator<Milter.Builder<Integer>> wrong) {
    Milter.Builder<Integer> builder = builder();
    MilterException e = assertThrows(MilterException.class, () -> wrong.apply(builder));
    assertEquals(Category.BAD_OPTIONS, e.category());
  }

  @Test
  void aMilterThatHandlesNothingOrCannotUseWhatItAsksForIsNotBuilt() {
    for (Milter.Builder<Integer> builder :
        List.of(
            builder(),
            builder().requires(ActionFlag.ADD_HEADER),
            builder().on(Event.Mail.class, GOES_ON).rejectedRecipients())) {
      MilterException e = assertThrows(MilterException.class, builder::build);
      assertEquals(Category.BAD_OPTIONS, e.category());
    }
    assertEquals(
        Category.BAD_OPTIONS,
        assertThrows(MilterException.class, () -> Milter.perClient(null)).category());
    assertThrows(MilterException.class, () -> Milter.perMessage(null));
    assertThrows(MilterException.class, () -> Milter.perClientAndMessage(() -> 0, null));
  }

  @Test
  void theFirstHandlerStaysWhenASecondIsRefused() {
    Milter.Builder<Integer> builder =
        builder().on(Event.Mail.class, (event, count) -> Step.next(count).respond(Action.reject()));
    assertThrows(MilterException.class, () -> builder.watch(Event.Mail.class, GOES_ON));
    assertEquals(List.of("r"), mta(builder).say(MAIL));
  }

  // ---- fail closed

  @Test
  void aWatcherThatFailsOrAnswersDefersTheMessage() {
    List<Milter.Handler<Event, Integer>> wrong =
        List.of(
            (event, count) -> {
              throw new StackOverflowError("at will");
            },
            (event, count) -> Step.next(count).respond(Action.reject()),
            (event, count) -> null);
    for (Milter.Handler<Event, Integer> handler : wrong) {
      DrivenEngine mta =
          mta(builder().watch(Event.Mail.class, handler).on(Event.EndOfMessage.class, GOES_ON));
      assertEquals(List.of("t"), mta.say(MAIL, EOM));
    }
  }

  @Test
  void aStateThatCannotBeMadeDefersTheMailAndIsTriedAgain() {
    int[] tries = new int[1];
    Milter<Integer> milter =
        Milter.<Integer>perClient(
                () -> {
                  if (tries[0]++ == 0) {
                    throw new AssertionError("at will");
                  }
                  return 0;
                })
            .on(Event.Mail.class, GOES_ON)
            .build();
    DrivenEngine mta = new DrivenEngine(milter, EngineOptions.DEFAULTS);
    mta.say(DrivenEngine.OFFER);
    assertEquals(List.of("t", "c"), mta.say(MAIL, MAIL));
  }

  @Test
  void anErrorPolicyThatFailsDefersToo() {
    Milter.Handler<Event, Integer> fails =
        (event, count) -> {
          throw new IllegalStateException("at will");
        };
    DrivenEngine nothing = mta(builder().on(Event.Mail.class, fails).onError((e, event) -> null));
    assertEquals(List.of("t"), nothing.say(MAIL));
    DrivenEngine throwing =
        mta(
            builder()
                .on(Event.Mail.class, fails)
                .onError(
                    (e, event) -> {
                      throw new NoClassDefFoundError("at will");
                    }));
    assertEquals(List.of("t"), throwing.say(MAIL));
    assertTrue(throwing.reports().contains("failed MAIL NoClassDefFoundError"));
  }
}
