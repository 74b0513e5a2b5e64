package temse.server.internal;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static temse.server.internal.DrivenEngine.CONNECT;
import static temse.server.internal.DrivenEngine.EOH;
import static temse.server.internal.DrivenEngine.EOM;
import static temse.server.internal.DrivenEngine.HEADER;
import static temse.server.internal.DrivenEngine.MAIL;
import static temse.server.internal.DrivenEngine.QUIT;
import static temse.server.internal.DrivenEngine.RCPT;

import clojure.lang.Keyword;
import java.io.IOException;
import java.lang.reflect.Proxy;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.function.Consumer;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.MethodSource;
import temse.protocol.Action;
import temse.protocol.Actions;
import temse.protocol.Event;
import temse.protocol.EventType;
import temse.protocol.Keys;
import temse.protocol.MessageEndReason;
import temse.protocol.MilterException;
import temse.server.ConnectionInfo;
import temse.server.EngineOptions;
import temse.server.Exchange;
import temse.server.ServerListener;
import temse.transport.internal.Conversation.End;
import temse.transport.internal.Conversation.Wish;

/** Reports reach the listener in order, and nothing that it does changes an answer. */
class ReportsTest {
  private static final List<String> METHODS =
      List.of(
          "negotiated", "wantsExchanges", "exchanged", "verdict", "failed", "violated", "closed");

  /** Keeps what is reported, and throws in one method. */
  private static final class Listener implements ServerListener {
    final List<String> lines = new ArrayList<>();
    private final String failing;
    private final Throwable error;

    Listener(String failing, Throwable error) {
      this.failing = failing;
      this.error = error;
    }

    private void heard(String method, Object... what) {
      StringBuilder line = new StringBuilder(method);
      for (Object part : what) {
        line.append(' ').append(part instanceof Keyword name ? name.getName() : part);
      }
      lines.add(line.toString());
      if (method.equals(failing)) {
        throw Chaos.raise(error);
      }
    }

    @Override
    public void negotiated(ConnectionInfo connection) {
      heard("negotiated", connection.id());
    }

    @Override
    public boolean wantsExchanges() {
      heard("wantsExchanges");
      return true;
    }

    @Override
    public void exchanged(
        ConnectionInfo connection, Event event, List<Action> response, long nanos) {
      heard("exchanged", event.map().valAt(Keys.EVENT), response.size());
    }

    @Override
    public void verdict(
        ConnectionInfo connection, EventType event, Action.Reply reply, MessageEndReason ended) {
      heard("verdict", event, ended);
    }

    @Override
    public void failed(ConnectionInfo connection, EventType type, Event event, Throwable error) {
      heard("failed", type, error.getClass().getSimpleName());
    }

    @Override
    public void violated(ConnectionInfo connection, MilterException error) {
      heard("violated", error.category());
    }

    @Override
    public void probed(ConnectionInfo connection, String what) {
      heard("probed", what);
    }

    @Override
    public void closed(ConnectionInfo connection, Throwable error) {
      heard("closed", error == null ? "well" : error.getClass().getSimpleName());
    }
  }

  private static ScriptedHandler handler() {
    return ScriptedHandler.hearing(EventType.MAIL, EventType.RECIPIENT, EventType.END_OF_MESSAGE)
        .on(
            EventType.RECIPIENT,
            (event, connection) -> {
              if (event.valAt(Keys.ADDRESS).equals("<b@example.com>")) {
                throw new IllegalStateException("the handler fails");
              }
              return List.of(Actions.replyCode(550, "5.7.1", "no"));
            });
  }

  /** One connection, with all that can be reported. */
  private static final class Run {
    final ScriptedLink link = new ScriptedLink();
    final Counts counters = new Counts(EngineOptions.DEFAULTS);
    final ConnectionEngine engine;

    Run(ScriptedHandler handler, ServerListener listener) {
      engine =
          new ConnectionEngine(
              handler, EngineOptions.DEFAULTS, listener, counters, link, 1, () -> 0);
    }

    String say(String... packets) {
      engine.receive(ByteBuffer.wrap(DrivenEngine.bytes(packets)), 0);
      return new String(link.take(), StandardCharsets.ISO_8859_1);
    }

    String all() {
      String answers =
          say(DrivenEngine.OFFER)
              + say(CONNECT, MAIL, RCPT, "Rother|")
              + say(HEADER, EOH, EOM)
              + say(MAIL, MAIL, "Z");
      engine.ended(End.CLOSED_HERE, null);
      return answers;
    }
  }

  @Test
  void reportsComeInTheOrderOfWhatTheyReport() {
    Listener listener = new Listener("", null);
    new Run(handler(), listener).all();

    assertEquals(
        List.of(
            "wantsExchanges",
            "negotiated 1",
            "exchanged options 0",
            "exchanged connect 1",
            "exchanged mail 1",
            "failed RECIPIENT IllegalStateException",
            "exchanged recipient 1",
            "verdict RECIPIENT null",
            "exchanged recipient 1",
            "verdict RECIPIENT null",
            "exchanged header 1",
            "exchanged end-of-headers 1",
            "exchanged end-of-message 1",
            "verdict END_OF_MESSAGE ACCEPTED",
            "exchanged message-end 0",
            "exchanged mail 1",
            "exchanged abort 0",
            "exchanged message-end 0",
            "verdict null ABORTED",
            "exchanged mail 1",
            "violated MALFORMED_PACKET",
            "exchanged abort 0",
            "exchanged message-end 0",
            "verdict null LOST",
            "exchanged disconnect 0",
            "closed MilterException"),
        listener.lines);
  }

  static Stream<Arguments> whateverThrows() {
    return METHODS.stream()
        .flatMap(
            method ->
                Stream.of(
                        new IllegalStateException("at will"),
                        new MilterException(MilterException.Category.MALFORMED_PACKET, "at will"),
                        new IOException("at will"),
                        new StackOverflowError("at will"),
                        new OutOfMemoryError("at will"),
                        new AssertionError("at will"))
                    .map(error -> Arguments.of(method, error)));
  }

  @ParameterizedTest
  @MethodSource("whateverThrows")
  void aListenerThatThrowsChangesNoAnswerAndNoOtherReport(String method, Throwable error) {
    Listener calm = new Listener("", null);
    Listener failing = new Listener(method, error);
    ScriptedHandler calmHandler = handler();
    ScriptedHandler handler = handler();
    String answers = new Run(calmHandler, calm).all();
    Run run = new Run(handler, failing);

    assertEquals(answers, run.all());
    assertEquals(calmHandler.heard(), handler.heard());
    List<String> expected =
        method.equals("wantsExchanges")
            ? calm.lines.stream().filter(line -> !line.startsWith("exchanged")).toList()
            : calm.lines;
    assertEquals(expected, failing.lines);
    long thrown = failing.lines.stream().filter(line -> line.split(" ")[0].equals(method)).count();
    assertEquals(thrown, run.counters.listenerFailures());
    assertTrue(thrown > 0);
    assertFalse(run.link.isInside());
  }

  @Test
  void aListenerIsGivenWhatItMissedOnlyWhereItMayBlock() {
    Listener listener = new Listener("", null);
    Run run = new Run(ScriptedHandler.hearing(EventType.QUIT), listener);
    run.say(DrivenEngine.OFFER);
    listener.lines.clear();
    run.link.kinds.clear();
    run.link.refuse(entry -> true);
    ByteBuffer more = ByteBuffer.wrap(DrivenEngine.bytes("Ufoo|", "Ufoo|"));

    assertEquals(Wish.MOVE, run.engine.receive(more, 0));
    assertEquals(1, run.link.flushed.size(), "the reply does not wait for the listener");
    assertEquals(List.of(), listener.lines);
    assertEquals(Wish.MOVE, run.engine.receive(more, 0), "nor does it get ahead of a report");
    assertEquals(List.of(), listener.lines);

    run.link.moveToSpareThread(true);
    assertEquals(Wish.READ, run.engine.receive(more, 0));
    assertEquals(List.of("exchanged unknown 1", "exchanged unknown 1"), listener.lines);
    assertEquals(List.of(32, 32), List.copyOf(run.link.kinds));
  }

  @Test
  void aListenerThatHearsNothingCostsNoEntry() {
    Run run = new Run(ScriptedHandler.hearing(EventType.QUIT), ServerListener.SILENT);
    run.say(DrivenEngine.OFFER);
    run.link.kinds.clear();
    run.say(CONNECT, MAIL, EOM);
    assertEquals(List.of(15), List.copyOf(run.link.kinds), "only the end of a message's scope");
  }

  @Test
  void watchersReceiveTheExchangesOfOpenConnectionsWhileTheyAreThere() {
    Run run = new Run(handler(), ServerListener.SILENT);
    List<String> seen = new ArrayList<>();
    Consumer<Exchange> watcher =
        exchange -> seen.add(exchange.event().type().keyword.getName() + " " + exchange.mail());
    run.say(DrivenEngine.OFFER, CONNECT, MAIL, EOH);
    run.counters.watchers().add("key", watcher);
    run.say(EOM, MAIL, RCPT);
    run.counters.watchers().remove("key");
    run.say(EOM);
    run.counters.watchers().add("key", watcher);
    run.say(MAIL, QUIT);

    assertEquals(
        List.of(
            "end-of-message 1",
            "message-end 1",
            "mail 2",
            "recipient 2",
            "mail 3",
            "abort 3",
            "message-end 3",
            "quit 0",
            "disconnect 0"),
        seen);
  }

  @Test
  void aWatcherThatThrowsChangesNoAnswerAndNoOtherReport() {
    List<String> calm = new ArrayList<>();
    List<String> beside = new ArrayList<>();
    Run watched = new Run(handler(), ServerListener.SILENT);
    watched.counters.watchers().add("calm", exchange -> calm.add(exchange.event().toString()));
    String answers = watched.all();
    Run run = new Run(handler(), ServerListener.SILENT);
    run.counters.watchers().add("bad", exchange -> Chaos.raise(new AssertionError("at will")));
    run.counters.watchers().add("calm", exchange -> beside.add(exchange.event().toString()));

    assertEquals(answers, run.all());
    assertEquals(calm, beside);
    assertEquals(calm.size(), run.counters.listenerFailures());
    assertFalse(run.link.isInside());
  }

  @Test
  void whileNobodyWatchesNoStateIsAskedForAndNoEntryMade() {
    ScriptedHandler handler = ScriptedHandler.hearing(EventType.END_OF_MESSAGE);
    Run run = new Run(handler, ServerListener.SILENT);
    run.say(DrivenEngine.OFFER, CONNECT);
    run.link.kinds.clear();
    run.counters.watchers().add("key", exchange -> {});
    run.counters.watchers().remove("key");
    run.say(MAIL, HEADER, EOM);
    assertEquals(0, handler.statesAskedFor);
    assertEquals(
        List.of(EventType.END_OF_MESSAGE.ordinal(), EventType.MESSAGE_END.ordinal()),
        List.copyOf(run.link.kinds),
        "the handler and the end of scope");
    run.counters.watchers().add("key", exchange -> {});
    run.say(MAIL, HEADER, EOM);
    assertEquals(1, handler.statesAskedFor);
  }

  @Test
  void theEndOfAConnectionIsReportedThoughNoHandlerWasEverThere() {
    Listener listener = new Listener("", null);
    Run run = new Run(handler(), listener);
    run.engine.receive(ByteBuffer.wrap(new byte[] {0, 0}), 0);
    run.engine.ended(End.PEER_CLOSED, new IOException("reset"));
    assertEquals(List.of("closed IOException"), listener.lines);
  }

  @Test
  void somebodyWhoSendsNoByteAndHangsUpIsNoMta() {
    Listener listener = new Listener("", null);
    new Run(handler(), listener).engine.ended(End.PEER_CLOSED, new IOException("reset"));
    new Run(handler(), listener).engine.ended(End.PEER_CLOSED, null);
    assertEquals(List.of("probed no byte", "probed no byte"), listener.lines);
  }

  @Test
  void aConnectionThatTheServerClosesIsNoProbe() {
    Listener listener = new Listener("", null);
    new Run(handler(), listener).engine.ended(End.STOPPED, null);
    assertEquals(List.of("closed well"), listener.lines);
  }

  @Test
  void aQuitIsReportedBehindTheEndsThatItBrings() {
    Listener listener = new Listener("", null);
    Run run = new Run(ScriptedHandler.hearing(EventType.DATA), listener);
    run.say(DrivenEngine.OFFER, MAIL);
    listener.lines.clear();
    run.say(QUIT);
    assertEquals(
        List.of(
            "exchanged abort 0",
            "exchanged message-end 0",
            "verdict null ABORTED",
            "exchanged quit 0",
            "exchanged disconnect 0"),
        listener.lines);
  }

  @Test
  void listenersBesideEachOtherReceiveAllThatIsReportedWhateverOneOfThemThrows() {
    List<String> received = new ArrayList<>();
    ServerListener counts =
        (ServerListener)
            Proxy.newProxyInstance(
                ServerListener.class.getClassLoader(),
                new Class<?>[] {ServerListener.class},
                (proxy, method, arguments) -> {
                  received.add(method.getName());
                  if (method.getReturnType() == boolean.class) {
                    return true;
                  }
                  throw new IllegalStateException(method.getName());
                });
    ServerListener quiet =
        new ServerListener() {
          @Override
          public void exchanged(
              ConnectionInfo connection, Event event, List<Action> response, long nanos) {
            received.add("not wanted");
          }
        };
    ServerListener all = quiet.and(counts).and(counts);
    assertTrue(all.wantsExchanges());
    received.clear();
    List<Runnable> reports =
        List.of(
            () -> all.negotiated(null),
            () -> all.closed(null, null),
            () -> all.verdict(null, null, null, null),
            () -> all.violated(null, null),
            () -> all.failed(null, null, null, null),
            () -> all.refused(null, null),
            () -> all.troubled(null));
    for (Runnable report : reports) {
      IllegalStateException e = assertThrows(IllegalStateException.class, report::run);
      assertEquals(List.of(e.getMessage(), e.getMessage()), received);
      received.clear();
    }
    assertThrows(IllegalStateException.class, () -> all.exchanged(null, null, null, 1));
    assertEquals(2, Collections.frequency(received, "exchanged"));
    assertFalse(received.contains("not wanted"));
  }
}
