package temse.server;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static temse.server.DrivenEngine.EOM;
import static temse.server.DrivenEngine.MAIL;
import static temse.server.DrivenEngine.RCPT;

import clojure.lang.IPersistentMap;
import clojure.lang.Keyword;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.function.UnaryOperator;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;
import temse.protocol.ActionFlag;
import temse.protocol.Actions;
import temse.protocol.EventType;
import temse.protocol.Keys;
import temse.protocol.MilterException;
import temse.protocol.MilterException.Category;

/** Nothing that somebody writes with Milter and Step is ignored: it works, or it is refused. */
class MilterMistakesTest {
  private static final Milter.Handler<Integer> GOES_ON = (event, count) -> Step.next(count);

  private static Milter.Builder<Integer> builder() {
    return Milter.startingWith(() -> 0);
  }

  private static DrivenEngine mta(Milter.Builder<Integer> builder) {
    DrivenEngine mta = new DrivenEngine(builder.build(), EngineOptions.DEFAULTS);
    mta.say(DrivenEngine.OFFER);
    return mta;
  }

  private static DrivenEngine answering(Milter.Handler<Integer> atMail) {
    return mta(builder().on(EventType.MAIL, atMail));
  }

  // ---- steps

  @Test
  void aStepThatComesLaterNeedsAStage() {
    assertThrows(NullPointerException.class, () -> Step.<Integer>later(null));
  }

  @Test
  void aStepThatComesLaterHasNoResponseOfItsOwn() {
    Step<Integer> later = Step.later(CompletableFuture.completedFuture(Step.next(1)));
    assertThrows(IllegalStateException.class, () -> later.respond(Actions.reject()));
    assertThrows(IllegalStateException.class, () -> later.respond());

    DrivenEngine mta = answering((event, count) -> later.respond(Actions.reject()));
    assertEquals(List.of("t"), mta.say(MAIL));
  }

  @Test
  void aResponseIsGivenOnce() {
    Step<Integer> step = Step.next(1).respond(Actions.addHeader("X", "y"));
    assertThrows(IllegalStateException.class, () -> step.respond(Actions.accept()));
    assertEquals(
        List.of(Actions.accept()), Step.next(1).respond().respond(Actions.accept()).actions());
  }

  @Test
  void aStageMayYieldAnotherStepThatComesLaterWithItsResponseAndItsState() {
    Milter.Builder<Integer> builder =
        builder()
            .on(
                EventType.MAIL,
                (event, count) ->
                    Step.later(
                        CompletableFuture.completedFuture(
                            Step.later(CompletableFuture.supplyAsync(() -> Step.next(7))))))
            .on(
                EventType.RECIPIENT,
                (event, count) ->
                    Step.later(
                        CompletableFuture.completedFuture(
                            Step.later(
                                CompletableFuture.completedFuture(
                                    Step.next(count)
                                        .respond(Actions.replyCode(550, null, "" + count)))))));
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
                .on(EventType.HELLO, (event, count) -> Step.next(5))
                .on(EventType.MAIL, (event, count) -> Step.later(stage))
                .on(
                    EventType.UNKNOWN,
                    (event, count) ->
                        Step.next(count).respond(Actions.replyCode(500, null, "" + count))));
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
    IPersistentMap header = Actions.addHeader("X", "y");
    return new Object[][] {
      {new IPersistentMap[] {Actions.accept(), header}, Category.LATE_ACTION},
      {new IPersistentMap[] {header, Actions.reject(), header}, Category.LATE_ACTION},
      {new IPersistentMap[] {Actions.accept(), Actions.accept()}, Category.DOUBLE_REPLY},
      {new IPersistentMap[] {Actions.proceed(), Actions.reject()}, Category.DOUBLE_REPLY},
      {new IPersistentMap[] {ScriptedHandler.typed("acept")}, Category.BAD_ACTION},
      {new IPersistentMap[] {header.without(Keys.VALUE)}, Category.BAD_ACTION},
      {
        new IPersistentMap[] {header.without(Keys.VALUE).assoc(Keyword.intern("vlaue"), "y")},
        Category.BAD_ACTION
      },
      {
        new IPersistentMap[] {
          ScriptedHandler.typed("change-header", Keys.NAME, "Subject", Keyword.intern("vlaue"), "x")
        },
        Category.BAD_ACTION
      },
      {
        new IPersistentMap[] {
          ScriptedHandler.typed("reply-code", Keys.SMTP_CODE, 550L, Keyword.intern("message"), "x")
        },
        Category.BAD_ACTION
      }
    };
  }

  @ParameterizedTest
  @MethodSource("wrongResponses")
  void aResponseThatCannotBeSentIsRefusedWhereItIsWritten(
      IPersistentMap[] response, Category category) {
    assertEquals(
        category,
        assertThrows(MilterException.class, () -> Step.next(0).respond(response)).category());
    DrivenEngine mta = answering((event, count) -> Step.next(count).respond(response));
    assertEquals(List.of("t"), mta.say(MAIL));
  }

  // ---- builders

  static List<UnaryOperator<Milter.Builder<Integer>>> wrongBuilders() {
    return List.of(
        it -> it.on(EventType.MAIL, GOES_ON).on(EventType.MAIL, GOES_ON),
        it -> it.watch(EventType.MAIL, GOES_ON).on(EventType.MAIL, GOES_ON),
        it -> it.on(EventType.BODY, GOES_ON).watch(EventType.BODY, GOES_ON),
        it -> it.watch(EventType.BODY, GOES_ON).watch(EventType.BODY, GOES_ON),
        it ->
            it.on(EventType.HEADER, GOES_ON)
                .on(EventType.HEADER, (event, count, connection) -> Step.next(count)),
        it -> it.watch(EventType.END_OF_MESSAGE, GOES_ON),
        it -> it.on(EventType.OPTIONS, GOES_ON),
        it -> it.watch(EventType.OPTIONS, GOES_ON),
        it -> it.on(EventType.MAIL, (Milter.Handler<Integer>) null),
        it -> it.on(EventType.MAIL, (Milter.ConnectionHandler<Integer>) null),
        it -> it.watch(EventType.MAIL, null),
        it -> it.on(null, GOES_ON),
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
            builder().on(EventType.MAIL, GOES_ON).rejectedRecipients())) {
      MilterException e = assertThrows(MilterException.class, builder::build);
      assertEquals(Category.BAD_OPTIONS, e.category());
    }
    assertEquals(
        Category.BAD_OPTIONS,
        assertThrows(MilterException.class, () -> Milter.startingWith(null)).category());
  }

  @Test
  void theFirstHandlerStaysWhenASecondIsRefused() {
    Milter.Builder<Integer> builder =
        builder().on(EventType.MAIL, (event, count) -> Step.next(count).respond(Actions.reject()));
    assertThrows(MilterException.class, () -> builder.watch(EventType.MAIL, GOES_ON));
    assertEquals(List.of("r"), mta(builder).say(MAIL));
  }

  // ---- fail closed

  @Test
  void aWatcherThatFailsOrAnswersDefersTheMessage() {
    List<Milter.Handler<Integer>> wrong =
        List.of(
            (event, count) -> {
              throw new StackOverflowError("at will");
            },
            (event, count) -> Step.next(count).respond(Actions.reject()),
            (event, count) -> null);
    for (Milter.Handler<Integer> handler : wrong) {
      DrivenEngine mta =
          mta(builder().watch(EventType.MAIL, handler).on(EventType.END_OF_MESSAGE, GOES_ON));
      assertEquals(List.of("t"), mta.say(MAIL, EOM));
    }
  }

  @Test
  void aStateThatCannotBeMadeDefersTheMailAndIsTriedAgain() {
    int[] tries = new int[1];
    Milter<Integer> milter =
        Milter.<Integer>startingWith(
                () -> {
                  if (tries[0]++ == 0) {
                    throw new AssertionError("at will");
                  }
                  return 0;
                })
            .on(EventType.MAIL, GOES_ON)
            .build();
    DrivenEngine mta = new DrivenEngine(milter, EngineOptions.DEFAULTS);
    mta.say(DrivenEngine.OFFER);
    assertEquals(List.of("t", "c"), mta.say(MAIL, MAIL));
  }

  @Test
  void anErrorPolicyThatFailsDefersToo() {
    Milter.Handler<Integer> fails =
        (event, count) -> {
          throw new IllegalStateException("at will");
        };
    DrivenEngine nothing = mta(builder().on(EventType.MAIL, fails).onError((e, event) -> null));
    assertEquals(List.of("t"), nothing.say(MAIL));
    DrivenEngine throwing =
        mta(
            builder()
                .on(EventType.MAIL, fails)
                .onError(
                    (e, event) -> {
                      throw new NoClassDefFoundError("at will");
                    }));
    assertEquals(List.of("t"), throwing.say(MAIL));
    assertTrue(throwing.reports().contains("failed MAIL NoClassDefFoundError"));
  }
}
