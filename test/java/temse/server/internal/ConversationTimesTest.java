package temse.server.internal;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static temse.server.internal.DrivenEngine.BODY;
import static temse.server.internal.DrivenEngine.CONNECT;
import static temse.server.internal.DrivenEngine.EOM;
import static temse.server.internal.DrivenEngine.MAIL;
import static temse.server.internal.DrivenEngine.RCPT;

import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.atomic.AtomicInteger;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;
import temse.protocol.Action;
import temse.protocol.EventType;
import temse.server.EngineOptions;
import temse.transport.internal.Conversation.End;
import temse.transport.internal.Conversation.Wish;

/** What is due when: for packets, the negotiation, peers that go, handlers that take their time. */
class ConversationTimesTest {
  private final AtomicInteger givenUp = new AtomicInteger();
  private final CompletableFuture<String> value = new CompletableFuture<>();

  private ScriptedHandler waitingAt(EventType type) {
    return ScriptedHandler.hearingAll()
        .on(
            type,
            (event, call) -> {
              call.await(value, ignored -> List.of(Action.accept()), givenUp::incrementAndGet);
              return null;
            });
  }

  // ---- a peer that has gone

  @ParameterizedTest
  @ValueSource(strings = {MAIL, RCPT, BODY})
  void aPeerThatIsGoneInTheMidstOfAMessageWaitsForNothing(String packet) {
    ScriptedHandler handler = waitingAt(EventType.ofCode((byte) packet.charAt(0)));
    DrivenEngine mta = DrivenEngine.negotiated(handler);
    mta.say(packet.equals(MAIL) ? new String[] {MAIL} : new String[] {MAIL, packet});

    assertEquals(Wish.CLOSE, mta.engine.peerClosed(0));
    mta.end(End.PEER_CLOSED);
    assertEquals(1, givenUp.get());
    assertTrue(handler.heard().contains("message-end lost"));
  }

  @ParameterizedTest
  @ValueSource(strings = {EOM, "Elast"})
  void aPeerThatMayWaitForTheAnswerToItsMessageIsProbed(String end) {
    ScriptedHandler handler =
        waitingAt(end.equals(EOM) ? EventType.END_OF_MESSAGE : EventType.BODY);
    DrivenEngine mta = DrivenEngine.negotiated(handler);
    mta.say(MAIL, end);

    mta.pass(Duration.ofSeconds(1));
    assertEquals(Wish.WAIT, mta.engine.peerClosed(mta.engine.deadline() - 4_000_000_000L));
    assertEquals(List.of("p"), mta.replies());
    assertEquals(Duration.ofMillis(100), mta.untilDeadline());
    assertEquals(List.of("p"), mta.passToDeadline());
    assertEquals(Duration.ofSeconds(5), mta.untilDeadline());
    value.complete("");
    assertEquals(List.of("p", "a"), mta.runTasks());
    assertEquals(0, givenUp.get());
  }

  @Test
  void aPeerThatOnlyEndsItsHalfOutsideAMessageGetsItsReply() {
    DrivenEngine mta = DrivenEngine.negotiated(waitingAt(EventType.CONNECT));
    mta.say(CONNECT);

    assertEquals(Wish.WAIT, mta.engine.peerClosed(0));
    assertEquals(List.of(), mta.replies());
    value.complete("");
    assertEquals(List.of("a"), mta.runTasks());
  }

  // ---- a handler that takes its time

  @Test
  void whileAHandlerHoldsTheEndOfAMessageProgressIsDueAtEachInterval() {
    List<String> sent = new ArrayList<>();
    DrivenEngine[] mta = new DrivenEngine[1];
    ScriptedHandler handler =
        ScriptedHandler.hearingAll()
            .on(
                EventType.END_OF_MESSAGE,
                (event, call) -> {
                  long due = mta[0].engine.heldDeadline();
                  mta[0].engine.held(due - 1);
                  sent.addAll(mta[0].replies());
                  mta[0].engine.held(due);
                  mta[0].engine.held(due);
                  sent.addAll(mta[0].replies());
                  assertEquals(
                      Duration.ofSeconds(5), Duration.ofNanos(mta[0].engine.heldDeadline() - due));
                  return null;
                });
    mta[0] = DrivenEngine.negotiated(handler);

    assertEquals(List.of("c"), mta[0].say(MAIL));
    assertEquals(List.of("c"), mta[0].say(EOM));
    assertEquals(List.of("p"), sent);
    mta[0].engine.held(Long.MAX_VALUE / 2);
    assertEquals(Long.MAX_VALUE, mta[0].engine.heldDeadline());
    assertEquals(List.of(), mta[0].replies());
  }

  @Test
  void noProgressIsDueWhereItMayNotBeSent() {
    List<Long> due = new ArrayList<>();
    DrivenEngine[] mta = new DrivenEngine[1];
    ScriptedHandler handler =
        ScriptedHandler.hearingAll()
            .on(
                EventType.MAIL,
                (event, call) -> {
                  due.add(mta[0].engine.heldDeadline());
                  mta[0].engine.held(due.get(0) - 1);
                  return null;
                });
    mta[0] = DrivenEngine.negotiated(handler);
    assertEquals(List.of("c"), mta[0].say(MAIL));
    assertEquals(List.of(Long.MAX_VALUE), due);
  }

  // ---- a peer that takes its time

  @Test
  void aPacketThatHasBegunMustEndInTimeHoweverItsOctetsCome() {
    DrivenEngine mta = DrivenEngine.negotiated(ScriptedHandler.hearingAll());
    byte[] mail = DrivenEngine.bytes(MAIL);
    for (int octet = 0; octet < 10; octet++) {
      mta.feed(new byte[] {mail[octet]});
      assertEquals(Duration.ofSeconds(60 - 5 * octet), mta.untilDeadline());
      mta.pass(Duration.ofSeconds(5));
    }
    assertEquals(List.of("c"), mta.feed(Arrays.copyOfRange(mail, 10, mail.length)));
    assertEquals(Duration.ofSeconds(7210), mta.untilDeadline());

    byte[] two = DrivenEngine.bytes(RCPT, RCPT);
    mta.feed(Arrays.copyOf(two, 3));
    mta.pass(Duration.ofSeconds(50));
    mta.feed(Arrays.copyOfRange(two, 3, two.length - 1));
    assertEquals(Duration.ofSeconds(60), mta.untilDeadline(), "the second begins now");
    mta.passToDeadline();
    assertTrue(mta.isClosed());
    assertEquals(List.of("closed CONNECTION_LOST"), mta.reports());
  }

  @Test
  void theNegotiationMustEndInTimeHoweverItsOctetsCome() {
    DrivenEngine mta = new DrivenEngine(ScriptedHandler.hearingAll());
    assertEquals(Duration.ofSeconds(30), mta.untilDeadline());
    mta.pass(Duration.ofSeconds(20));
    mta.feed(new byte[] {0});
    assertEquals(Duration.ofSeconds(10), mta.untilDeadline());
    mta.passToDeadline();
    assertTrue(mta.isClosed());
  }

  @Test
  void aPendingValueIsNotCutShortByThePeersDeadlines() {
    DrivenEngine mta =
        DrivenEngine.negotiated(
            waitingAt(EventType.MAIL),
            EngineOptions.builder()
                .idleTimeout(Duration.ofSeconds(1))
                .packetTimeout(Duration.ofSeconds(1))
                .build());
    byte[] more = DrivenEngine.bytes(MAIL, RCPT);
    mta.feed(Arrays.copyOf(more, more.length - 1));
    assertEquals(Duration.ofSeconds(5), mta.untilDeadline());
    mta.passToDeadline();
    assertEquals(Wish.WAIT, mta.wish());
    value.complete("");
    assertEquals(List.of("a"), mta.runTasks());
    assertEquals(Duration.ofSeconds(1), mta.untilDeadline());
  }
}
