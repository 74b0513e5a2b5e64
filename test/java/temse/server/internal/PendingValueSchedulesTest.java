package temse.server.internal;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static temse.server.internal.DrivenEngine.CONNECT;
import static temse.server.internal.DrivenEngine.EOM;
import static temse.server.internal.DrivenEngine.HEADER;
import static temse.server.internal.DrivenEngine.MAIL;
import static temse.server.internal.DrivenEngine.RCPT;

import clojure.lang.IPersistentMap;
import java.io.IOException;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.atomic.AtomicInteger;
import temse.protocol.ActionFlag;
import temse.protocol.Actions;
import temse.protocol.EventType;
import temse.protocol.MilterException;
import temse.schedules.Met;
import temse.schedules.Pick;
import temse.schedules.Schedules;
import temse.server.EngineOptions;
import temse.server.MilterConnection;
import temse.transport.internal.Conversation.End;
import temse.transport.internal.Conversation.Wish;

/**
 * A pending value that comes while its time is up, the connection ends, the server stops and the
 * handler's work still answers. The engine is driven by hand; a monitor stands for the transport's
 * promise that its calls do not overlap.
 */
class PendingValueSchedulesTest {
  private static final EngineOptions OPTIONS =
      EngineOptions.builder()
          .handlerTimeout(Duration.ofSeconds(2))
          .progressInterval(Duration.ofSeconds(1))
          .build();

  private final Object turn = new Object();
  private final CompletableFuture<List<IPersistentMap>> value = new CompletableFuture<>();
  private final List<String> replies = new ArrayList<>();
  private final List<Thread> threads = new ArrayList<>();
  private final AtomicInteger responses = new AtomicInteger();
  private final AtomicInteger givenUp = new AtomicInteger();
  private final ScriptedHandler handler =
      ScriptedHandler.hearingAll()
          .asking(wishes -> wishes.actions(ActionFlag.ADD_HEADER))
          .on(
              EventType.END_OF_MESSAGE,
              (event, connection) -> {
                waiting = connection;
                connection.awaitMaps(value, this::respond, givenUp::incrementAndGet);
                return null;
              });
  private DrivenEngine mta;
  private MilterConnection waiting;

  private void beginMessage() {
    mta = DrivenEngine.negotiated(handler, OPTIONS);
    mta.say(CONNECT, MAIL, RCPT, HEADER);
    handler.heard();
    assertEquals(List.of(), mta.say(EOM));
    assertEquals(Wish.WAIT, mta.wish());
  }

  private List<IPersistentMap> respond(List<IPersistentMap> actions) {
    responses.incrementAndGet();
    return actions;
  }

  /** Work for the value reports that it goes on, if it is not too late for that. */
  private void progress() {
    try {
      waiting.progress();
    } catch (MilterException e) {
      assertEquals(MilterException.Category.STALE_CONTEXT, e.category());
    }
  }

  private void start(Runnable work) {
    Thread thread = new Thread(work);
    threads.add(thread);
    thread.start();
  }

  /** One call of the engine, if there still is a connection. */
  private void inTurn(Runnable call) {
    synchronized (turn) {
      if (!mta.isClosed()) {
        call.run();
        replies.addAll(mta.replies());
      }
    }
  }

  private void runTasks() {
    inTurn(() -> replies.addAll(mta.runTasks()));
  }

  private void passToDeadline() {
    inTurn(
        () -> {
          if (mta.wish() == Wish.WAIT) {
            replies.addAll(mta.passToDeadline());
          }
        });
  }

  /** Has all threads end, and returns the verdict on the message, or null if there is none. */
  private String verdict() throws InterruptedException {
    for (Thread thread : threads) {
      runTasks();
      thread.join();
    }
    runTasks();
    assertTrue(responses.get() + givenUp.get() <= 1, "used or given up, or failed");
    List<String> verdicts = new ArrayList<>(replies);
    verdicts.removeIf(reply -> reply.startsWith("p") || reply.startsWith("h"));
    assertTrue(verdicts.size() <= 1, "one reply at most: " + replies);
    if (verdicts.isEmpty()) {
      assertTrue(mta.isClosed(), "there is no reply: " + replies);
      return null;
    }
    assertEquals(verdicts.get(0), replies.get(replies.size() - 1), "the reply comes last");
    return verdicts.get(0);
  }

  /** Ends the connection; the handler has received everything once by then. */
  private void end() {
    inTurn(mta::hangUp);
    List<String> heard = handler.heard();
    assertEquals(1, Collections.frequency(heard, "end-of-message"), heard.toString());
    assertEquals(1, Collections.frequency(heard, "end of message"), heard.toString());
    assertEquals(1, Collections.frequency(heard, "end of client"), heard.toString());
    List<String> reports = mta.reports();
    assertEquals(1, reports.stream().filter(line -> line.startsWith("closed")).count());
  }

  private void complete() {
    switch (Pick.number(3)) {
      case 0 -> value.complete(List.of(Actions.accept()));
      case 1 -> value.completeExceptionally(new IOException("no database"));
      default -> value.cancel(true);
    }
  }

  @Schedules(
      deviations = 2,
      plainFields = false,
      meeting = {"a", "t"})
  void aValueComesWhileItsTimeIsUp() throws Exception {
    beginMessage();
    start(this::complete);
    start(
        () -> {
          passToDeadline();
          passToDeadline();
        });
    String verdict = verdict();
    assertTrue("a".equals(verdict) || "t".equals(verdict), verdict);
    Met.met(verdict);
    end();
  }

  @Schedules(
      deviations = 2,
      plainFields = false,
      meeting = {"a", "t", "closed"})
  void aValueComesWhileTheConnectionEnds() throws Exception {
    beginMessage();
    start(this::complete);
    start(() -> inTurn(() -> mta.end(Pick.of(End.PEER_CLOSED, End.STOPPED, End.FAILED))));
    String verdict = verdict();
    Met.met(verdict == null ? "closed" : verdict);
    end();
  }

  @Schedules(
      random = 1500,
      meeting = {"a", "t", "closed"})
  void aValueComesWhileEverythingElseHappens() throws Exception {
    beginMessage();
    start(this::complete);
    start(
        () -> {
          passToDeadline();
          passToDeadline();
        });
    start(() -> inTurn(mta::stop));
    if (Pick.of(true, false)) {
      start(() -> inTurn(() -> mta.end(Pick.of(End.PEER_CLOSED, End.STOPPED, End.FAILED))));
    }
    start(this::progress);
    String verdict = verdict();
    Met.met(verdict == null ? "closed" : verdict);
    end();
  }

  /** The value of one message comes when the next one is there already. */
  @Schedules(
      random = 1000,
      meeting = {"a", "t"})
  void aValueThatComesTooLateTouchesNoOtherMessage() throws Exception {
    beginMessage();
    start(
        () -> {
          passToDeadline();
          passToDeadline();
          inTurn(
              () -> {
                if (mta.wish() == Wish.READ) {
                  handler.on(EventType.END_OF_MESSAGE, (event, connection) -> List.of());
                  List<String> second = mta.say(MAIL, EOM);
                  assertEquals(List.of("c", "c"), second, "the second message");
                }
              });
        });
    start(() -> value.complete(List.of(Actions.accept())));
    start(this::progress);
    Met.met(verdict());
    inTurn(mta::hangUp);
    assertThrows(MilterException.class, () -> waiting.send(Actions.addHeader("X", "late")));
  }
}
