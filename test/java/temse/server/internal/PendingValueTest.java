package temse.server.internal;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static temse.server.internal.DrivenEngine.ABORT;
import static temse.server.internal.DrivenEngine.CONNECT;
import static temse.server.internal.DrivenEngine.EOM;
import static temse.server.internal.DrivenEngine.HEADER;
import static temse.server.internal.DrivenEngine.HELO;
import static temse.server.internal.DrivenEngine.MAIL;
import static temse.server.internal.DrivenEngine.QUIT;
import static temse.server.internal.DrivenEngine.QUIT_NC;
import static temse.server.internal.DrivenEngine.RCPT;

import clojure.lang.IPersistentMap;
import java.io.IOException;
import java.time.Duration;
import java.util.EnumSet;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import java.util.concurrent.atomic.AtomicInteger;
import org.junit.jupiter.api.Test;
import temse.protocol.Action;
import temse.protocol.ActionFlag;
import temse.protocol.Actions;
import temse.protocol.EventType;
import temse.protocol.MilterException;
import temse.server.EngineOptions;
import temse.transport.internal.Conversation.End;
import temse.transport.internal.Conversation.Wish;

/** Handlers that answer with a value that is not there yet. */
class PendingValueTest {
  private static final EngineOptions OPTIONS =
      EngineOptions.builder()
          .handlerTimeout(Duration.ofSeconds(25))
          .handlerTimeout(EventType.END_OF_MESSAGE, Duration.ofSeconds(35))
          .progressInterval(Duration.ofSeconds(10))
          .build();

  private final CompletableFuture<List<IPersistentMap>> value = new CompletableFuture<>();
  private final ScriptedHandler handler =
      ScriptedHandler.hearingAll().asking(wishes -> wishes.actions(ActionFlag.ADD_HEADER));

  private final AtomicInteger givenUp = new AtomicInteger();

  private ScriptedHandler.Answer waitingFor(CompletableFuture<List<IPersistentMap>> value) {
    return (event, connection) -> {
      connection.awaitMaps(value, actions -> actions, givenUp::incrementAndGet);
      return null;
    };
  }

  private DrivenEngine waitingAt(EventType type) {
    handler.on(type, waitingFor(value));
    return DrivenEngine.negotiated(handler, OPTIONS);
  }

  @Test
  void aValueThatIsThereAlreadyAnswers() {
    DrivenEngine mta = waitingAt(EventType.MAIL);
    value.complete(List.of(Actions.reject()));

    assertEquals(List.of(), mta.say(MAIL));
    assertEquals(List.of("r"), mta.runTasks());
    assertEquals(Wish.READ, mta.wish());
  }

  @Test
  void aValueThatComesLaterAnswersThen() {
    DrivenEngine mta = waitingAt(EventType.MAIL);

    assertEquals(List.of(), mta.say(MAIL));
    assertEquals(Wish.WAIT, mta.wish());
    value.complete(List.of(Actions.reject()));
    assertEquals(List.of("r"), mta.runTasks());
  }

  @Test
  void aValueOfNothingLeavesTheDefaultReply() {
    DrivenEngine mta = waitingAt(EventType.MAIL);

    mta.say(MAIL);
    value.complete(null);
    assertEquals(List.of("c"), mta.runTasks());
  }

  @Test
  void laterPacketsWaitTheirTurn() {
    handler.asking(wishes -> wishes.noReplyEvents(List.of(EventType.HEADER)));
    DrivenEngine mta = waitingAt(EventType.HEADER);
    handler.heard();

    assertEquals(List.of("c"), mta.say(MAIL, HEADER, "LX|y|", EOM));
    assertEquals(List.of("mail <a@example.org>", "header Subject#1=hi"), handler.heard());
    value.complete(null);
    assertEquals(List.of("c"), mta.runTasks());
    assertEquals(
        List.of("header X#1=y", "end-of-message", "message-end accepted", "end of message"),
        handler.heard());
  }

  @Test
  void aFailedValueIsAFailureOfTheHandler() {
    DrivenEngine mta = waitingAt(EventType.MAIL);

    mta.say(MAIL);
    value.completeExceptionally(new CompletionException(new IOException("no database")));
    assertEquals(List.of("t"), mta.runTasks());
    assertEquals(List.of("failed MAIL IOException"), mta.reports());
  }

  @Test
  void aValueThatCannotBeSentIsAFailureOfTheHandler() {
    DrivenEngine mta = waitingAt(EventType.MAIL);

    mta.say(MAIL);
    value.complete(List.of(Actions.addHeader("X", "y"), Actions.accept()));
    assertEquals(List.of("t"), mta.runTasks());
    assertEquals(List.of("failed MAIL REPLY_NOT_ALLOWED"), mta.reports());
  }

  @Test
  void aValueThatCannotBeTurnedIntoActionsIsAFailureOfTheHandler() {
    handler.on(
        EventType.MAIL,
        (event, connection) -> {
          connection.await(
              value,
              actions -> {
                throw new IllegalArgumentException("no actions");
              });
          return null;
        });
    DrivenEngine mta = DrivenEngine.negotiated(handler, OPTIONS);

    mta.say(MAIL);
    value.complete(null);
    assertEquals(List.of("t"), mta.runTasks());
    assertEquals(List.of("failed MAIL IllegalArgumentException"), mta.reports());
  }

  @Test
  void aValueThatDoesNotComeInTimeIsAFailureAndIsGivenUp() {
    DrivenEngine mta = waitingAt(EventType.MAIL);
    mta.say(MAIL);

    for (int progress = 0; progress < 2; progress++) {
      assertEquals(Duration.ofSeconds(10), mta.untilDeadline());
      assertEquals(List.of(), mta.passToDeadline(), "no progress before the end of message");
    }
    assertEquals(Duration.ofSeconds(5), mta.untilDeadline());
    assertEquals(List.of("t"), mta.passToDeadline());
    assertEquals(1, givenUp.get());
    assertFalse(value.isDone(), "others may wait for it, too");
    assertEquals(List.of("failed MAIL HANDLER_TIMEOUT"), mta.reports());
    assertEquals(Wish.READ, mta.wish());
  }

  @Test
  void aValueThatComesAfterItsTimeIsIgnored() {
    DrivenEngine mta = waitingAt(EventType.MAIL);
    mta.say(MAIL);
    while (mta.wish() == Wish.WAIT) {
      mta.passToDeadline();
    }

    value.complete(List.of(Actions.reject()));
    assertEquals(List.of(), mta.runTasks());
    assertEquals(List.of("c"), mta.say(ABORT, HELO));
  }

  @Test
  void aLateValueOfOneEventDoesNotAnswerTheNext() {
    CompletableFuture<List<IPersistentMap>> next = new CompletableFuture<>();
    DrivenEngine mta = waitingAt(EventType.MAIL);
    mta.say(MAIL);
    while (mta.wish() == Wish.WAIT) {
      mta.passToDeadline();
    }
    handler.on(EventType.MAIL, waitingFor(next));
    mta.say(MAIL);

    value.complete(List.of(Actions.reject()));
    assertEquals(List.of(), mta.runTasks());
    assertEquals(Wish.WAIT, mta.wish());
    next.complete(List.of(Actions.accept()));
    assertEquals(List.of("a"), mta.runTasks());
  }

  @Test
  void pipelinedPacketsAreServedAfterATimeout() {
    handler.asking(wishes -> wishes.noReplyEvents(List.of(EventType.HEADER)));
    DrivenEngine mta = waitingAt(EventType.HEADER);
    mta.say(MAIL, HEADER, EOM);
    mta.passToDeadline();
    mta.passToDeadline();

    assertEquals(List.of("t"), mta.passToDeadline(), "of what was not seen, the end is deferred");
  }

  @Test
  void progressIsSentAtEachIntervalUntilTheEndOfMessageIsSettled() {
    DrivenEngine mta = waitingAt(EventType.END_OF_MESSAGE);
    mta.say(MAIL, RCPT, EOM);

    for (int progress = 0; progress < 3; progress++) {
      assertEquals(Duration.ofSeconds(10), mta.untilDeadline());
      assertEquals(List.of("p"), mta.passToDeadline());
    }
    assertEquals(Duration.ofSeconds(5), mta.untilDeadline(), "the limit at end of message is 35 s");
    value.complete(List.of(Actions.addHeader("X", "y"), Actions.accept()));
    assertEquals(List.of("hX|y|", "a"), mta.runTasks());
    assertEquals(OPTIONS.idleTimeout(), mta.untilDeadline().toNanos());
  }

  @Test
  void progressIsSentAtOtherEventsIfTheOptionsSaySo() {
    handler.on(EventType.RECIPIENT, waitingFor(value));
    DrivenEngine mta =
        DrivenEngine.negotiated(
            handler,
            EngineOptions.builder().progressEvents(EnumSet.of(EventType.RECIPIENT)).build());
    mta.say(MAIL, RCPT);

    assertEquals(List.of("p"), mta.passToDeadline());
  }

  @Test
  void workForAPendingValueMayReportProgressFromAnyThread() throws Exception {
    DrivenEngine mta = waitingAt(EventType.END_OF_MESSAGE);
    mta.say(MAIL, RCPT, EOM);

    Thread work = new Thread(() -> handler.connection().progress());
    work.start();
    work.join();
    assertEquals(List.of("p"), mta.runTasks());

    work = new Thread(() -> handler.connection().progress());
    work.start();
    work.join();
    value.complete(null);
    assertEquals(List.of("p", "c"), mta.runTasks());

    MilterException stale =
        assertThrows(MilterException.class, () -> handler.connection().progress());
    assertEquals(MilterException.Category.STALE_CONTEXT, stale.category());
    assertEquals(List.of(), mta.runTasks(), "nothing is pending any more");
  }

  @Test
  void aFloodOfProgressForAPendingValueWaitsAsOneTask() {
    DrivenEngine mta = waitingAt(EventType.END_OF_MESSAGE);
    mta.say(MAIL, RCPT, EOM);

    for (int i = 0; i < 1000; i++) {
      handler.connection().progress();
    }
    assertEquals(1, mta.link.tasks.size());
    assertEquals(List.of("p"), mta.runTasks());

    handler.connection().progress();
    assertEquals(List.of("p"), mta.runTasks(), "what comes later is sent, too");
  }

  @Test
  void workForAPendingValueMaySendActions() {
    DrivenEngine mta = waitingAt(EventType.END_OF_MESSAGE);
    mta.say(MAIL, RCPT, EOM);

    handler.connection().send(Actions.addHeader("X", "y"));
    value.complete(List.of(Actions.accept()));
    assertEquals(List.of("hX|y|", "a"), mta.runTasks());
  }

  @Test
  void aValueMayLeadToAnother() {
    CompletableFuture<List<IPersistentMap>> second = new CompletableFuture<>();
    handler.on(
        EventType.MAIL,
        (event, connection) -> {
          connection.awaitMaps(
              value,
              first -> {
                connection.awaitMaps(second, actions -> actions, () -> {});
                return null;
              },
              () -> {});
          return null;
        });
    DrivenEngine mta = DrivenEngine.negotiated(handler, OPTIONS);
    mta.say(MAIL);

    value.complete(null);
    assertEquals(List.of(), mta.runTasks());
    second.complete(List.of(Actions.reject()));
    assertEquals(List.of("r"), mta.runTasks());
  }

  @Test
  void aHandlerThatFailsAfterItBeganToWaitHasFailed() {
    handler.on(
        EventType.MAIL,
        (event, connection) -> {
          connection.awaitMaps(value, actions -> actions, () -> {});
          throw new IllegalStateException("after all");
        });
    DrivenEngine mta = DrivenEngine.negotiated(handler, OPTIONS);

    assertEquals(List.of("t"), mta.say(MAIL));
    value.complete(List.of(Actions.accept()));
    assertEquals(List.of(), mta.runTasks());
  }

  @Test
  void onlyARunningHandlerCanWait() {
    DrivenEngine mta = DrivenEngine.negotiated(handler, OPTIONS);
    mta.say(MAIL);

    MilterException stale =
        assertThrows(
            MilterException.class,
            () -> handler.connection().await(value, actions -> List.of(Action.reject())));
    assertEquals(MilterException.Category.STALE_CONTEXT, stale.category());
    assertEquals(List.of("c"), mta.say(RCPT));
  }

  @Test
  void theEndOfTheConnectionGivesTheValueUp() {
    DrivenEngine mta = waitingAt(EventType.END_OF_MESSAGE);
    mta.say(MAIL, RCPT, EOM);
    handler.heard();

    mta.hangUp();
    assertEquals(1, givenUp.get());
    assertEquals(
        List.of(
            "abort",
            "message-end lost",
            "end of message",
            "disconnect connection-lost",
            "end of client"),
        handler.heard());
    assertEquals(List.of("closed"), mta.reports());
  }

  @Test
  void aMessageWhoseMailWasNeverHeardHasNoEnd() {
    DrivenEngine mta = waitingAt(EventType.ABORT);
    mta.say(MAIL, MAIL);
    handler.heard();

    mta.hangUp();
    assertEquals(
        List.of(
            "message-end aborted", "end of message", "disconnect connection-lost", "end of client"),
        handler.heard());
  }

  @Test
  void anAbortMayBePendingAndTheNextMessageWaits() {
    DrivenEngine mta = waitingAt(EventType.ABORT);
    mta.say(MAIL);
    handler.heard();

    assertEquals(List.of(), mta.say(ABORT, MAIL));
    assertEquals(List.of("abort"), handler.heard());
    value.complete(null);
    assertEquals(List.of("c"), mta.runTasks());
    assertEquals(
        List.of("message-end aborted", "end of message", "mail <a@example.org>"), handler.heard());
  }

  @Test
  void theScopeOfAMessageLastsUntilItsEndIsSettled() {
    DrivenEngine mta = waitingAt(EventType.MESSAGE_END);
    mta.say(MAIL, EOM);

    assertFalse(handler.heard().contains("end of message"));
    value.complete(null);
    mta.runTasks();
    assertEquals(List.of("end of message"), handler.heard());
  }

  @Test
  void theScopeOfAClientLastsUntilItsEndIsSettled() {
    DrivenEngine mta = waitingAt(EventType.DISCONNECT);
    mta.say(CONNECT, QUIT_NC);
    assertFalse(handler.heard().contains("end of client"));

    value.completeExceptionally(new IOException("no database"));
    mta.runTasks();
    assertEquals(List.of("end of client"), handler.heard());
    assertEquals(List.of("failed DISCONNECT IOException"), mta.reports());
    assertEquals(List.of("c"), mta.say(CONNECT));
  }

  @Test
  void theConnectionClosesWhenTheLastHandlerIsDone() {
    DrivenEngine mta = waitingAt(EventType.DISCONNECT);
    mta.say(QUIT);
    assertFalse(mta.isClosed());

    value.complete(null);
    mta.runTasks();
    assertTrue(mta.isClosed());
    assertEquals("end of client", handler.heard().get(2));
  }

  @Test
  void scopesEndEvenIfTheirLastHandlersNeverDo() {
    handler.on(EventType.MESSAGE_END, waitingFor(value));
    DrivenEngine mta = waitingAt(EventType.DISCONNECT);
    mta.say(MAIL, EOM);
    mta.end(End.STOPPED);

    List<String> heard = handler.heard();
    assertEquals(
        List.of("message-end accepted", "end of message", "disconnect stopping", "end of client"),
        heard.subList(2, heard.size()));
  }

  @Test
  void workAtTheEndOfALostConnectionIsLeftToItself() {
    for (EventType type : List.of(EventType.ABORT, EventType.MESSAGE_END, EventType.DISCONNECT)) {
      CompletableFuture<List<IPersistentMap>> own = new CompletableFuture<>();
      handler.on(type, waitingFor(own));
    }
    DrivenEngine mta = DrivenEngine.negotiated(handler, OPTIONS);
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
    assertEquals(0, givenUp.get(), "none was given up");
  }
}
