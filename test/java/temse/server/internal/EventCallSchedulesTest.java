package temse.server.internal;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static temse.server.internal.DrivenEngine.CONNECT;
import static temse.server.internal.DrivenEngine.EOM;
import static temse.server.internal.DrivenEngine.MAIL;

import clojure.lang.IPersistentMap;
import java.time.Duration;
import java.util.ArrayList;
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

/**
 * What other threads do with the connection of an event, while the event is answered, its time is
 * up or the next one is at hand: it is part of that event's one reply, or it is refused.
 */
class EventCallSchedulesTest {
  private static final EngineOptions OPTIONS =
      EngineOptions.builder().handlerTimeout(Duration.ofSeconds(2)).build();

  private final Object turn = new Object();
  private final CompletableFuture<List<IPersistentMap>> value = new CompletableFuture<>();
  private final List<String> written = new ArrayList<>();
  private final AtomicInteger taken = new AtomicInteger();
  private final ScriptedHandler handler =
      ScriptedHandler.hearing(EventType.END_OF_MESSAGE)
          .asking(wishes -> wishes.actions(ActionFlag.ADD_HEADER))
          .on(EventType.END_OF_MESSAGE, (event, connection) -> wait(connection));
  private DrivenEngine mta;
  private MilterConnection first;

  private List<IPersistentMap> wait(MilterConnection connection) {
    first = connection;
    connection.awaitMaps(value, actions -> actions, () -> {});
    return null;
  }

  private void beginMessage() {
    mta = DrivenEngine.negotiated(handler, OPTIONS);
    mta.say(CONNECT, MAIL);
    mta.say(EOM);
  }

  private static Thread start(Runnable work) {
    Thread thread = new Thread(work);
    thread.start();
    return thread;
  }

  private void inTurn(Runnable call) {
    synchronized (turn) {
      call.run();
      written.addAll(mta.replies());
    }
  }

  private void send() {
    try {
      first.send(Actions.addHeader("X", "late"));
      taken.incrementAndGet();
    } catch (MilterException e) {
      Met.met("refused: " + e.category());
    }
  }

  private long headers() {
    return written.stream().filter(reply -> reply.startsWith("h")).count();
  }

  @Schedules(
      random = 1000,
      meeting = {"refused: STALE_CONTEXT", "0 taken", "1 taken", "2 taken"})
  void anActionOfAnotherThreadIsInTheReplyOrRefused() throws Exception {
    beginMessage();
    boolean replies = Pick.of(true, false);
    Thread completing =
        start(() -> value.complete(replies ? List.of(Actions.accept()) : List.of()));
    Thread one = start(this::send);
    Thread other = start(this::send);
    inTurn(() -> written.addAll(mta.runTasks()));
    completing.join();
    inTurn(() -> written.addAll(mta.runTasks()));
    one.join();
    other.join();
    assertEquals(replies ? "a" : "c", written.get(written.size() - 1));
    assertEquals(taken.get(), headers(), written.toString());
    Met.met(taken + " taken");
  }

  @Schedules(
      random = 1000,
      meeting = {"refused: STALE_CONTEXT", "1 taken"})
  void anActionOfASettledEventTouchesNoOtherMessage() throws Exception {
    beginMessage();
    value.complete(List.of(Actions.accept()));
    Thread sending = start(this::send);
    inTurn(() -> written.addAll(mta.runTasks()));
    long before = headers();
    written.clear();
    handler.on(EventType.END_OF_MESSAGE, (event, connection) -> List.of(Actions.accept()));
    inTurn(() -> written.addAll(mta.say(MAIL, EOM)));
    sending.join();
    assertEquals(List.of("c", "a"), written, "the second message");
    assertEquals(taken.get(), before, "the first message");
    IPersistentMap later = Actions.addHeader("X", "later");
    MilterException stale = assertThrows(MilterException.class, () -> first.send(later));
    assertEquals(MilterException.Category.STALE_CONTEXT, stale.category());
    Met.met(taken + " taken");
  }
}
