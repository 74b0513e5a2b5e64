package temse.server.internal;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static temse.server.internal.DrivenEngine.ABORT;
import static temse.server.internal.DrivenEngine.BODY;
import static temse.server.internal.DrivenEngine.CONNECT;
import static temse.server.internal.DrivenEngine.DATA;
import static temse.server.internal.DrivenEngine.EOH;
import static temse.server.internal.DrivenEngine.EOM;
import static temse.server.internal.DrivenEngine.HEADER;
import static temse.server.internal.DrivenEngine.HELO;
import static temse.server.internal.DrivenEngine.MAIL;
import static temse.server.internal.DrivenEngine.OFFER;
import static temse.server.internal.DrivenEngine.QUIT;
import static temse.server.internal.DrivenEngine.QUIT_NC;
import static temse.server.internal.DrivenEngine.RCPT;

import clojure.lang.IObj;
import clojure.lang.IPersistentMap;
import clojure.lang.Keyword;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import temse.protocol.Action;
import temse.protocol.ActionFlag;
import temse.protocol.Actions;
import temse.protocol.Event;
import temse.protocol.EventType;
import temse.protocol.Keys;
import temse.server.ConnectionInfo;
import temse.server.EngineOptions;
import temse.server.ServerListener;
import temse.transport.internal.Conversation.End;
import temse.transport.internal.Conversation.Wish;

class ConnectionEngineTest {
  private static final String[] CONVERSATION = {
    OFFER, "DCj|mx|", CONNECT, HELO, MAIL, RCPT, DATA, HEADER, EOH, BODY, "Elast", MAIL, RCPT, MAIL,
    ABORT, QUIT_NC, CONNECT, HELO, MAIL, HEADER, QUIT
  };

  private final ScriptedHandler handler = ScriptedHandler.hearingAll();

  @Test
  void whatTheConnectionKnowsIsThereForItsHandlers() {
    DrivenEngine mta = new DrivenEngine(handler);
    assertEquals(1, mta.engine.connection().id());
    assertEquals("scripted", mta.engine.connection().peer());
    assertEquals(null, mta.engine.connection().agreement());
    mta.say(OFFER);
    assertEquals(1, handler.connection().id());
    assertEquals(6, mta.engine.connection().agreement().version());
  }

  @Test
  void handlersRunBetweenEnterAndLeaveAndOneAtATime() {
    List<Boolean> inside = new ArrayList<>();
    DrivenEngine mta = new DrivenEngine(handler);
    for (EventType type : ScriptedHandler.ALL) {
      handler.on(
          type,
          (event, connection) -> {
            inside.add(mta.link.isInside());
            return null;
          });
    }
    mta.say(CONVERSATION);

    assertFalse(inside.isEmpty());
    assertTrue(inside.stream().allMatch(is -> is), inside.toString());
    assertFalse(mta.link.isInside());
  }

  @Test
  void movingToAnotherThreadAtAnyStepLosesAndDoublesNothing() {
    handler
        .asking(wishes -> wishes.actions(ActionFlag.ADD_HEADER))
        .answering(EventType.END_OF_MESSAGE, Actions.addHeader("X", "y"), Actions.accept());
    DrivenEngine undisturbed = new DrivenEngine(handler);
    List<String> replies = undisturbed.say(CONVERSATION);
    List<String> heard = handler.heard();

    for (int step = 0; step <= heard.size(); step++) {
      int refused = step;
      DrivenEngine moved = new DrivenEngine(handler);
      moved.link.refuse(entry -> entry == refused);
      assertEquals(replies, moved.say(CONVERSATION), "replies, moved at step " + step);
      assertEquals(heard, handler.heard(), "heard, moved at step " + step);
    }
    DrivenEngine alwaysMoved = new DrivenEngine(handler);
    alwaysMoved.link.refuse(entry -> true);
    assertEquals(replies, alwaysMoved.say(CONVERSATION), "replies, moved at every step");
    assertEquals(heard, handler.heard(), "heard, moved at every step");
  }

  @Test
  void aConnectionThatWaitsForAThreadIsNotIdle() {
    ScriptedLink link = new ScriptedLink();
    ConnectionEngine engine =
        new ConnectionEngine(handler, EngineOptions.DEFAULTS, ServerListener.SILENT, link, 1);
    engine.receive(ByteBuffer.wrap(DrivenEngine.bytes(OFFER)), System.nanoTime());
    link.take();
    link.refuse(entry -> true);

    ByteBuffer connect = ByteBuffer.wrap(DrivenEngine.bytes(CONNECT));
    assertEquals(Wish.MOVE, engine.receive(connect, System.nanoTime()));
    assertFalse(engine.idle());
    assertEquals(Wish.MOVE, engine.stopping(), "the stop changes nothing about that");
    assertEquals(0, link.take().length);
    link.refuse(entry -> false);
    assertEquals(Wish.CLOSE, engine.receive(connect, System.nanoTime()));
    assertEquals("c", new String(link.take(), StandardCharsets.ISO_8859_1).substring(4));
  }

  @Test
  void progressOfAHandlerLeavesAtOnce() {
    List<Integer> flushed = new ArrayList<>();
    DrivenEngine mta = DrivenEngine.negotiated(handler);
    handler.on(
        EventType.END_OF_MESSAGE,
        (event, connection) -> {
          connection.progress();
          flushed.addAll(mta.link.flushed);
          connection.send(Actions.proceed().assoc(Keys.ACTION, Keyword.intern("progress")));
          return List.of(Actions.accept());
        });

    assertEquals(List.of("c", "p", "p", "a"), mta.say(MAIL, EOM));
    assertEquals(List.of(5, 5), flushed, "the answer before, and the progress, left already");
  }

  @Test
  void noProgressIsKeptForAPeerThatTakesNothing() throws Exception {
    DrivenEngine mta = DrivenEngine.negotiated(handler);
    handler.on(
        EventType.END_OF_MESSAGE,
        (event, connection) -> {
          connection.progress();
          mta.link.congested = true;
          Thread another = new Thread(connection::progress);
          for (int i = 0; i < 1000; i++) {
            connection.progress();
          }
          another.start();
          another.join();
          mta.link.congested = false;
          return List.of(Actions.accept());
        });

    assertEquals(List.of("c", "p", "a"), mta.say(MAIL, EOM));
  }

  @Test
  @Tag("F37")
  void progressBeforeTheEndOfAMessageIsSwallowed() {
    for (EventType type : ScriptedHandler.ALL) {
      if (type != EventType.END_OF_MESSAGE) {
        handler.on(
            type,
            (event, connection) -> {
              connection.progress();
              return null;
            });
      }
    }
    DrivenEngine mta = DrivenEngine.negotiated(handler);

    assertEquals(
        List.of("c", "c", "c", "c", "c", "c", "c", "c", "c", "c"),
        mta.say(CONNECT, HELO, "UFOO|", MAIL, RCPT, DATA, HEADER, EOH, BODY, EOM));
    assertEquals(List.of(), mta.reports());
  }

  @Test
  void anMtaThatIsSilentForTooLongIsGivenUp() {
    DrivenEngine mta =
        DrivenEngine.negotiated(
            handler, EngineOptions.builder().idleTimeout(Duration.ofSeconds(30)).build());
    assertEquals(Duration.ofSeconds(30), mta.untilDeadline());
    mta.pass(Duration.ofSeconds(20));
    mta.say(MAIL);
    assertEquals(Duration.ofSeconds(30), mta.untilDeadline(), "it counts from the last word");
    handler.heard();

    mta.passToDeadline();
    assertTrue(mta.isClosed());
    assertEquals(
        List.of("abort", "message-end lost", "end of message", "disconnect error", "end of client"),
        handler.heard());
    assertEquals(List.of("closed CONNECTION_LOST"), mta.reports());
  }

  @Test
  @Tag("L6")
  void silenceOfTwoHoursIsBorne() {
    DrivenEngine mta = DrivenEngine.negotiated(handler);

    assertTrue(mta.untilDeadline().compareTo(Duration.ofSeconds(7200)) > 0);
  }

  @Test
  void anIdleConnectionStopsAtOnce() {
    DrivenEngine mta = DrivenEngine.negotiated(handler);
    mta.say(CONNECT, MAIL, EOM);
    handler.heard();
    assertTrue(mta.engine.idle());

    mta.stop();
    assertTrue(mta.isClosed());
    assertEquals(List.of("disconnect stopping", "end of client"), handler.heard());
  }

  @Test
  @Tag("L5")
  void aMessageInProgressIsFinishedBeforeTheConnectionStops() {
    DrivenEngine mta = DrivenEngine.negotiated(handler);
    mta.say(MAIL, RCPT);
    assertFalse(mta.engine.idle());
    mta.stop();
    assertEquals(List.of("c", "c"), mta.say(HEADER, BODY));
    handler.heard();

    assertEquals(List.of("c"), mta.say(EOM, MAIL), "the next message is not begun");
    assertTrue(mta.isClosed());
    assertEquals(
        List.of(
            "end-of-message",
            "message-end accepted",
            "end of message",
            "disconnect stopping",
            "end of client"),
        handler.heard());
  }

  @Test
  void aStopAsksForNoThreadWhileThePeerIsYetToTakeWhatWasWritten() {
    DrivenEngine mta = DrivenEngine.negotiated(handler);
    mta.say(MAIL);
    mta.link.congested = true;
    ByteBuffer more = ByteBuffer.wrap(DrivenEngine.bytes(RCPT));
    assertEquals(Wish.DRAIN, mta.engine.receive(more, 0));
    assertEquals(Wish.DRAIN, mta.engine.stopping());

    mta.link.congested = false;
    assertEquals(Wish.READ, mta.engine.receive(more, 0));
    assertEquals(List.of("c"), mta.replies());
  }

  @Test
  void aPendingAnswerIsGivenBeforeTheConnectionStops() {
    CompletableFuture<List<IPersistentMap>> value = new CompletableFuture<>();
    handler.on(
        EventType.CONNECT,
        (event, connection) -> {
          connection.awaitMaps(value, actions -> actions, () -> {});
          return null;
        });
    DrivenEngine mta = DrivenEngine.negotiated(handler);
    mta.say(CONNECT);

    mta.stop();
    assertEquals(Wish.WAIT, mta.wish());
    value.complete(List.of(Actions.reject()));
    assertEquals(List.of("r"), mta.runTasks());
    assertTrue(mta.isClosed());
  }

  @Test
  void aStopDuringAMessageThatIsThenLostSaysBoth() {
    DrivenEngine mta = DrivenEngine.negotiated(handler);
    mta.say(MAIL);
    mta.stop();
    handler.heard();

    mta.end(End.STOPPED);
    assertEquals(
        List.of(
            "abort", "message-end lost", "end of message", "disconnect stopping", "end of client"),
        handler.heard());
  }

  @Test
  void eventsCarryTheirExactPayloadIfTheOptionsSaySo() {
    List<String> payloads = new ArrayList<>();
    handler.on(
        EventType.HEADER,
        (event, connection) -> {
          IPersistentMap meta = ((IObj) event).meta();
          payloads.add(
              meta == null
                  ? "none"
                  : new String((byte[]) meta.valAt(Keys.PAYLOAD), StandardCharsets.ISO_8859_1));
          return null;
        });
    DrivenEngine.negotiated(handler).say(MAIL, HEADER);
    DrivenEngine.negotiated(handler, EngineOptions.builder().keepPayload(true).build())
        .say(MAIL, HEADER);

    assertEquals(List.of("none", "Subject\0hi\0"), payloads);
  }

  @Test
  void aListenerHearsEveryExchangeInOrderWhoeverHandlesIt() {
    List<String> exchanges = new ArrayList<>();
    ServerListener listener =
        new ServerListener() {
          @Override
          public boolean wantsExchanges() {
            return true;
          }

          @Override
          public void exchanged(
              ConnectionInfo connection, Event event, List<Action> response, long nanos) {
            StringBuilder line = new StringBuilder(event.type().keyword.getName());
            response.forEach(action -> line.append(' ').append(action.type().keyword.getName()));
            exchanges.add(line.toString());
            assertTrue(nanos >= 0 && nanos < Duration.ofMinutes(1).toNanos(), "nanos " + nanos);
          }
        };
    ScriptedHandler few =
        ScriptedHandler.hearing(EventType.MAIL, EventType.END_OF_MESSAGE)
            .asking(wishes -> wishes.actions(ActionFlag.ADD_HEADER))
            .answering(EventType.END_OF_MESSAGE, Actions.addHeader("X", "y"), Actions.accept());
    ConnectionEngine engine =
        new ConnectionEngine(few, EngineOptions.DEFAULTS, listener, new ScriptedLink(), 1);
    engine.receive(
        ByteBuffer.wrap(DrivenEngine.bytes(OFFER, "DCj|x|", CONNECT, MAIL, RCPT, EOM, QUIT)),
        System.nanoTime());
    engine.ended(End.CLOSED_HERE, null);

    assertEquals(
        List.of(
            "options",
            "define-macro",
            "connect continue",
            "mail continue",
            "recipient continue",
            "end-of-message add-header accept",
            "message-end",
            "quit",
            "disconnect"),
        exchanges);
  }
}
