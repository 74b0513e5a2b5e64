package temse.server.internal;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static temse.server.internal.DrivenEngine.BODY;
import static temse.server.internal.DrivenEngine.CONNECT;
import static temse.server.internal.DrivenEngine.DATA;
import static temse.server.internal.DrivenEngine.EOH;
import static temse.server.internal.DrivenEngine.EOM;
import static temse.server.internal.DrivenEngine.HEADER;
import static temse.server.internal.DrivenEngine.HELO;
import static temse.server.internal.DrivenEngine.MAIL;
import static temse.server.internal.DrivenEngine.QUIT;
import static temse.server.internal.DrivenEngine.RCPT;

import clojure.lang.IPersistentMap;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.atomic.AtomicBoolean;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.MethodSource;
import temse.protocol.Action;
import temse.protocol.ActionFlag;
import temse.protocol.Actions;
import temse.protocol.EventType;
import temse.protocol.MilterException;
import temse.protocol.MilterException.Category;
import temse.server.EngineOptions;
import temse.server.MilterConnection;
import temse.server.ServerListener;
import temse.transport.internal.Conversation.Wish;

/** The connection that a handler receives lives as long as its event, and no longer. */
@Timeout(60)
class EventCallTest {
  private static final IPersistentMap MARK = Actions.addHeader("X-Late", "yes");

  private static ScriptedHandler handler() {
    return ScriptedHandler.hearingAll()
        .asking(
            wishes ->
                wishes.actions(
                    ActionFlag.ADD_HEADER, ActionFlag.CHANGE_BODY, ActionFlag.CHANGE_HEADER));
  }

  private static Category refusal(Runnable work) {
    return assertThrows(MilterException.class, work::run).category();
  }

  private static Category refusalElsewhere(Runnable work) throws InterruptedException {
    ExecutionException e =
        assertThrows(ExecutionException.class, () -> CompletableFuture.runAsync(work).get());
    return ((MilterException) e.getCause()).category();
  }

  private static List<Runnable> usesOf(MilterConnection call) {
    return List.of(
        () -> call.send(Actions.proceed()),
        () -> call.send(MARK),
        () -> call.send(ScriptedHandler.typed("nonsense")),
        () -> call.send(ScriptedHandler.typed("progress")),
        call::progress,
        call::close,
        call::macros,
        () -> call.await(new CompletableFuture<>(), value -> List.of()));
  }

  // ---- its life

  @ParameterizedTest
  @EnumSource(
      mode = EnumSource.Mode.EXCLUDE,
      names = {"DEFINE_MACRO"})
  void aCallIsDeadForAnyThreadWhenItsEventIsSettled(EventType type) throws Exception {
    List<MilterConnection> calls = new ArrayList<>();
    ScriptedHandler handler =
        handler()
            .on(
                type,
                (event, call) -> {
                  calls.add(call);
                  return null;
                });
    DrivenEngine mta = new DrivenEngine(handler);
    mta.say(DrivenEngine.OFFER, CONNECT, HELO, "Ufoo|");
    mta.say(MAIL, RCPT, DATA, HEADER, EOH, BODY, EOM, MAIL, QUIT);

    assertNotEquals(List.of(), calls);
    for (MilterConnection call : calls) {
      for (Runnable use : usesOf(call)) {
        assertEquals(Category.STALE_CONTEXT, refusal(use));
        assertEquals(Category.STALE_CONTEXT, refusalElsewhere(use));
      }
      assertEquals(1, call.id());
      assertEquals("scripted", call.peer());
    }
    assertEquals(List.of(), mta.replies());
  }

  @Test
  void theErrorPolicyHasACallOfItsOwnAndThatOfTheHandlerIsDead() {
    List<MilterConnection> calls = new ArrayList<>();
    List<Category> refused = new ArrayList<>();
    ScriptedHandler handler =
        handler()
            .on(
                EventType.END_OF_MESSAGE,
                (event, call) -> {
                  calls.add(call);
                  call.send(MARK);
                  throw new StackOverflowError("too deep");
                })
            .onError(
                (event, call) -> {
                  usesOf(calls.get(0)).forEach(use -> refused.add(refusal(use)));
                  calls.add(call);
                  call.send(Actions.addHeader("X-Error", "yes"));
                  refused.add(
                      refusal(() -> call.await(new CompletableFuture<>(), value -> List.of())));
                  return List.of(Actions.accept());
                });
    DrivenEngine mta = DrivenEngine.negotiated(handler);

    assertEquals(List.of("c", "hX-Error|yes|", "a"), mta.say(MAIL, EOM));
    assertEquals(List.of(Category.STALE_CONTEXT), refused.stream().distinct().toList());
    usesOf(calls.get(1)).forEach(use -> assertEquals(Category.STALE_CONTEXT, refusal(use)));
  }

  @Test
  void theCallsOfOneConnectionAreEqualAndThoseOfTwoAreNot() {
    Map<MilterConnection, Integer> counts = new java.util.HashMap<>();
    ScriptedHandler.Answer count =
        (event, call) -> {
          counts.merge(call, 1, Integer::sum);
          return null;
        };
    for (int connection = 0; connection < 2; connection++) {
      DrivenEngine mta =
          DrivenEngine.negotiated(
              handler().on(EventType.MAIL, count).on(EventType.END_OF_MESSAGE, count));
      mta.say(MAIL, EOM, MAIL, EOM);
    }
    assertEquals(List.of(4, 4), List.copyOf(counts.values()));
  }

  @Test
  void workOfATimedOutValueCannotReachTheNextMail() {
    List<MilterConnection> calls = new ArrayList<>();
    ScriptedHandler handler =
        handler()
            .on(
                EventType.END_OF_MESSAGE,
                (event, call) -> {
                  calls.add(call);
                  if (calls.size() == 1) {
                    call.await(new CompletableFuture<>(), value -> List.of());
                  } else {
                    assertEquals(Category.STALE_CONTEXT, refusal(() -> calls.get(0).send(MARK)));
                    assertEquals(
                        Category.STALE_CONTEXT, refusalElsewhere(() -> calls.get(0).send(MARK)));
                    assertEquals(Category.STALE_CONTEXT, refusal(calls.get(0)::close));
                  }
                  return null;
                });
    EngineOptions soon =
        EngineOptions.builder()
            .handlerTimeout(Duration.ofSeconds(1))
            .progressInterval(Duration.ofSeconds(2))
            .build();
    DrivenEngine mta = DrivenEngine.negotiated(handler, soon);
    mta.say(MAIL, EOM);
    assertEquals(List.of("t"), mta.passToDeadline());

    assertEquals(List.of("c", "c"), mta.say(MAIL, EOM));
    assertFalse(mta.isClosed());
  }

  @Test
  void whateverAnotherThreadSendsLateNeverReachesALaterMail() throws Exception {
    AtomicBoolean over = new AtomicBoolean();
    List<MilterConnection> calls = new java.util.concurrent.CopyOnWriteArrayList<>();
    List<Integer> number = new ArrayList<>();
    ScriptedHandler handler =
        handler()
            .on(
                EventType.END_OF_MESSAGE,
                (event, call) -> {
                  calls.add(call);
                  number.add(0);
                  return null;
                });
    DrivenEngine mta = DrivenEngine.negotiated(handler);
    CompletableFuture<Void> sender =
        CompletableFuture.runAsync(
            () -> {
              while (!over.get()) {
                int last = calls.size() - 1;
                if (last >= 0) {
                  try {
                    calls.get(last).send(Actions.addHeader("X-Mail", "" + last));
                  } catch (MilterException e) {
                    assertEquals(Category.STALE_CONTEXT, e.category());
                  }
                }
              }
            });
    for (int mail = 0; mail < 2000; mail++) {
      for (String packet : mta.say(MAIL, EOM)) {
        assertTrue(packet.equals("c") || packet.equals("hX-Mail|" + mail + "|"), packet);
      }
    }
    over.set(true);
    sender.get();
  }

  // ---- waiting

  @Test
  void aSecondAwaitIsAMistakeAndTheFirstValueStillAnswers() {
    CompletableFuture<String> first = new CompletableFuture<>();
    ScriptedHandler handler =
        handler()
            .on(
                EventType.MAIL,
                (event, call) -> {
                  call.await(first, value -> List.of(Action.reject()));
                  assertEquals(
                      Category.BAD_HANDLER_RETURN,
                      refusal(() -> call.await(new CompletableFuture<>(), value -> List.of())));
                  return null;
                });
    DrivenEngine mta = DrivenEngine.negotiated(handler);

    assertEquals(List.of(), mta.say(MAIL));
    first.complete("");
    assertEquals(List.of("r"), mta.runTasks());
  }

  @Test
  void actionsBesideAPendingValueAreAFailureWhichGivesItUp() {
    AtomicBoolean givenUp = new AtomicBoolean();
    ScriptedHandler handler =
        handler()
            .on(
                EventType.MAIL,
                (event, call) -> {
                  call.await(
                      new CompletableFuture<>(), value -> List.of(), () -> givenUp.set(true));
                  return List.of(Actions.accept());
                });
    DrivenEngine mta = DrivenEngine.negotiated(handler);

    assertEquals(List.of("t"), mta.say(MAIL));
    assertEquals(List.of("failed MAIL BAD_HANDLER_RETURN"), mta.reports());
    assertTrue(givenUp.get());
  }

  private static Throwable[] anything() {
    return new Throwable[] {
      new IllegalStateException("at will"),
      new MilterException(Category.MALFORMED_PACKET, "at will"),
      new AssertionError("at will"),
      new java.io.IOException("at will")
    };
  }

  @ParameterizedTest
  @MethodSource("anything")
  void aTimeoutIsATimeoutEvenIfGivingUpThrows(Throwable thrown) {
    List<Throwable> seen = new ArrayList<>();
    ScriptedHandler handler = waiting(thrown);
    DrivenEngine mta =
        DrivenEngine.negotiated(
            handler,
            EngineOptions.builder()
                .handlerTimeout(Duration.ofSeconds(1))
                .progressInterval(Duration.ofSeconds(2))
                .build());
    mta.say(MAIL);
    assertEquals(List.of("t"), mta.passToDeadline());
    assertEquals(List.of("failed MAIL HANDLER_TIMEOUT"), mta.reports());
    assertEquals(List.of(), seen);
  }

  @ParameterizedTest
  @MethodSource("anything")
  void whatGivingUpThrowsIsReportedAndHidesNoFailureOfTheHandler(Throwable thrown) {
    ScriptedHandler handler =
        handler()
            .on(
                EventType.MAIL,
                (event, call) -> {
                  call.await(
                      new CompletableFuture<>(),
                      value -> List.of(),
                      () -> {
                        throw Chaos.raise(thrown);
                      });
                  throw new IllegalArgumentException("the handler fails");
                });
    DrivenEngine mta = DrivenEngine.negotiated(handler);

    assertEquals(List.of("t"), mta.say(MAIL));
    assertTrue(mta.reports().contains("failed MAIL IllegalArgumentException"));
    assertFalse(mta.isClosed());
  }

  @ParameterizedTest
  @MethodSource("anything")
  void messageAndClientEndEvenIfGivingUpThrows(Throwable thrown) {
    ScriptedHandler handler = waiting(thrown);
    DrivenEngine mta = DrivenEngine.negotiated(handler);
    mta.say(MAIL);
    handler.heard();
    mta.hangUp();

    assertEquals(
        List.of(
            "abort",
            "message-end lost",
            "end of message",
            "disconnect connection-lost",
            "end of client"),
        handler.heard());
    assertEquals("closed", mta.reports().get(1));
  }

  private static ScriptedHandler waiting(Throwable whenGivenUp) {
    return handler()
        .on(
            EventType.MAIL,
            (event, call) -> {
              call.await(
                  new CompletableFuture<>(),
                  value -> List.of(),
                  () -> {
                    throw Chaos.raise(whenGivenUp);
                  });
              return null;
            });
  }

  @Test
  void aStageThatCallsBackTwiceOrThrowsAnswersOnce() {
    for (int callsBack = 0; callsBack < 3; callsBack++) {
      TrapStage<String> twice = new TrapStage<>(callsBack, "", new AssertionError("at will"));
      ScriptedHandler handler =
          handler()
              .on(
                  EventType.MAIL,
                  (event, call) -> {
                    call.await(twice, value -> List.of(Action.accept()));
                    return null;
                  });
      DrivenEngine mta = DrivenEngine.negotiated(handler);
      assertEquals(List.of("t"), mta.say(MAIL));
      assertEquals(List.of(), mta.runTasks());
      assertEquals(List.of("t"), mta.say(RCPT));
    }
  }

  @Test
  void aValueThatComesTwiceDoesNotEndTheWaitForTheNext() {
    CompletableFuture<String> next = new CompletableFuture<>();
    List<String> came = new ArrayList<>();
    ScriptedHandler handler =
        handler()
            .on(
                EventType.MAIL,
                (event, call) -> {
                  call.await(
                      new TrapStage<>(2, "first", null),
                      first -> {
                        came.add(first);
                        call.await(next, second -> List.of(Action.reject()));
                        return null;
                      });
                  return null;
                });
    DrivenEngine mta = DrivenEngine.negotiated(handler);

    mta.say(MAIL);
    assertEquals(List.of(), mta.runTasks());
    assertEquals(Wish.WAIT, mta.wish());
    next.complete("");
    assertEquals(List.of("r"), mta.runTasks());
    assertEquals(List.of("first"), came);
    assertEquals(List.of(), mta.reports());
  }

  // ---- progress

  @Test
  void progressOfTheErrorPolicyComesBehindEarlierReplies() {
    ScriptedHandler handler =
        handler()
            .failing(EventType.BODY)
            .asking(wishes -> wishes.noReplyEvents(List.of(EventType.BODY)))
            .onError(
                (event, call) -> {
                  CompletableFuture.runAsync(call::progress).get();
                  return List.of(Actions.temporaryFailure());
                });
    DrivenEngine mta = DrivenEngine.negotiated(handler);

    assertEquals(List.of("c", "p", "t"), mta.say(MAIL, BODY, EOM));
  }

  @Test
  void progressIsDueWhileTheErrorPolicyHoldsTheEndOfAMessage() {
    List<Long> deadlines = new ArrayList<>();
    DrivenEngine[] mta = new DrivenEngine[1];
    ScriptedHandler handler =
        handler()
            .failing(EventType.END_OF_MESSAGE)
            .onError(
                (event, call) -> {
                  deadlines.add(mta[0].engine.heldDeadline());
                  mta[0].engine.held(deadlines.get(0));
                  return List.of(Actions.temporaryFailure());
                });
    mta[0] = DrivenEngine.negotiated(handler);

    assertEquals(List.of("c", "p", "t"), mta[0].say(MAIL, EOM));
    assertNotEquals(Long.MAX_VALUE, deadlines.get(0));
    assertEquals(Long.MAX_VALUE, mta[0].engine.heldDeadline());
  }

  // ---- the end

  @Test
  void aConnectionThatEndsWithoutMemoryKeepsNoBytesOfTheServersBudget() {
    Counts counters = new Counts(EngineOptions.DEFAULTS);
    ScriptedLink link = new ScriptedLink();
    ConnectionEngine engine =
        new ConnectionEngine(
            handler(), EngineOptions.DEFAULTS, ServerListener.SILENT, counters, link, 1, () -> 0);
    engine.receive(java.nio.ByteBuffer.wrap(DrivenEngine.bytes(DrivenEngine.OFFER)), 0);
    byte[] part = new byte[5000];
    part[1] = 1;
    assertEquals(Wish.READ, engine.receive(java.nio.ByteBuffer.wrap(part), 0));
    assertTrue(counters.unfinished().taken() > 0);
    link.refuse(
        entry -> {
          throw new OutOfMemoryError("at will");
        });
    assertThrows(
        OutOfMemoryError.class,
        () -> engine.ended(temse.transport.internal.Conversation.End.FAILED, null));
    assertEquals(0, counters.unfinished().taken());
  }
}
