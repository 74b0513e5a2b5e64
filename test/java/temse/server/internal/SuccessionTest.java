package temse.server.internal;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static temse.server.internal.DrivenEngine.BODY;
import static temse.server.internal.DrivenEngine.CONNECT;
import static temse.server.internal.DrivenEngine.DATA;
import static temse.server.internal.DrivenEngine.EOH;
import static temse.server.internal.DrivenEngine.EOM;
import static temse.server.internal.DrivenEngine.HELO;
import static temse.server.internal.DrivenEngine.MAIL;
import static temse.server.internal.DrivenEngine.OFFER;
import static temse.server.internal.DrivenEngine.QUIT_NC;
import static temse.server.internal.DrivenEngine.RCPT;

import clojure.lang.IPersistentMap;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.Set;
import java.util.concurrent.CompletableFuture;
import org.junit.jupiter.api.Test;
import temse.protocol.Actions;
import temse.protocol.EventType;
import temse.protocol.Missing;
import temse.protocol.Request;
import temse.server.ConnectionInfo;
import temse.server.EngineOptions;
import temse.server.MilterFactory;
import temse.server.MilterHandler;
import temse.server.ServerListener;
import temse.transport.internal.Conversation.Wish;

/** Another milter takes over an open connection, at each moment at which it could. */
class SuccessionTest {
  private static final String CLIENT_MACROS = "DCj|mx.example.org|";

  private final ScriptedHandler old = ScriptedHandler.hearingAll();
  private final ScriptedHandler next = ScriptedHandler.hearingAll();
  private final CompletableFuture<List<IPersistentMap>> value = new CompletableFuture<>();

  private ScriptedHandler.Answer waiting() {
    return (event, connection) -> {
      connection.awaitMaps(value, actions -> actions, () -> {});
      return null;
    };
  }

  /** Returns an engine between two messages, of which the second is the new handler's. */
  private DrivenEngine betweenMessages() {
    DrivenEngine mta = DrivenEngine.negotiated(old);
    mta.say(CLIENT_MACROS, CONNECT, HELO, MAIL, RCPT, DATA, EOH, BODY, EOM);
    old.heard();
    mta.replace(next);
    return mta;
  }

  private static final List<String> LEAVING = List.of("disconnect replaced", "end of client");

  private static final List<String> TAKING_OVER =
      List.of(
          "negotiated",
          "connect client.example.org 192.0.2.1",
          "hello client.example.org",
          "mail <a@example.org>");

  @Test
  void theMtaSeesNothingOfIt() {
    DrivenEngine mta = betweenMessages();
    assertEquals(List.of("c"), mta.say(MAIL));
    assertEquals(LEAVING, old.heard());
    assertEquals(TAKING_OVER, next.heard());
    assertNull(mta.missing());
    assertEquals(List.of("c", "c", "c", "c", "c"), mta.say(RCPT, DATA, EOH, BODY, EOM));
  }

  @Test
  void itBeginsWithTheMacrosOfTheMessage() {
    List<String> macros = new ArrayList<>();
    next.on(
        EventType.MAIL,
        (event, connection) -> {
          macros.add(connection.macros().get("auth_authen") + " " + connection.macros().get("j"));
          return null;
        });
    DrivenEngine mta = betweenMessages();
    mta.say("DM{auth_authen}|ann|");
    assertEquals(LEAVING, old.heard());
    assertEquals(TAKING_OVER.subList(0, 3), next.heard());
    mta.say(MAIL);
    assertEquals(List.of("ann mx.example.org"), macros);
  }

  @Test
  void itMayMoveToAnotherThreadAtEachStep() {
    DrivenEngine mta = betweenMessages();
    mta.link.refuse(entry -> true);
    assertEquals(List.of("c"), mta.say(MAIL));
    assertEquals(LEAVING, old.heard());
    assertEquals(TAKING_OVER, next.heard());
  }

  @Test
  void anotherClientOfTheConnectionIsTheNewOnesFromItsBeginning() {
    DrivenEngine mta = betweenMessages();
    mta.say(QUIT_NC);
    assertEquals(List.of("disconnect new-connection", "end of client"), old.heard());
    assertEquals(List.of("c", "c"), mta.say(CONNECT, HELO));
    assertEquals(TAKING_OVER.subList(0, 3), next.heard());
    assertEquals(List.of(), old.heard());
  }

  @Test
  void aHelloBetweenMessagesIsHeardOnce() {
    DrivenEngine mta = betweenMessages();
    mta.say("Hother.example.org|");
    assertEquals(
        List.of(
            "negotiated",
            "connect client.example.org 192.0.2.1",
            "hello client.example.org",
            "hello other.example.org"),
        next.heard());
  }

  @Test
  void aClientThatWasRefusedStaysWithTheOldOne() {
    old.answering(EventType.CONNECT, Actions.reject());
    DrivenEngine mta = DrivenEngine.negotiated(old);
    assertEquals(List.of("r"), mta.say(CONNECT));
    mta.replace(next);
    assertEquals(List.of("r", "r"), mta.say(HELO, MAIL));
    assertEquals(List.of(), next.heard());
    mta.say(QUIT_NC);
    assertEquals(List.of("c", "c"), mta.say(CONNECT, HELO));
  }

  @Test
  void withoutMailTheFirstEventOfAMessageBeginsIt() {
    Set<EventType> few = Set.of(EventType.RECIPIENT, EventType.BODY);
    ScriptedHandler first = ScriptedHandler.hearing(few.toArray(EventType[]::new));
    ScriptedHandler second = ScriptedHandler.hearing(few.toArray(EventType[]::new));
    DrivenEngine mta = DrivenEngine.negotiated(first);
    mta.say(RCPT);
    mta.replace(second);
    assertEquals(List.of("c", "c"), mta.say(RCPT, EOM));
    assertEquals(List.of(), second.heard());
    assertEquals(List.of("c", "c"), mta.say(RCPT, EOM));
    assertEquals(
        List.of("negotiated", "recipient <b@example.com>", "end of message"), second.heard());
  }

  @Test
  void whatItAnswersToTheClientHoldsForTheMessage() {
    next.answering(EventType.CONNECT, Actions.reject());
    DrivenEngine mta = betweenMessages();
    assertEquals(List.of("r", "r"), mta.say(MAIL, RCPT));
    assertEquals(TAKING_OVER.subList(0, 2), next.heard());
  }

  @Test
  void itMayWaitForAValueWithoutProgressThatTheMtaDoesNotExpect() {
    EngineOptions.Builder options = EngineOptions.builder();
    options.progressEvents(Set.of(EventType.CONNECT, EventType.END_OF_MESSAGE));
    next.on(EventType.CONNECT, waiting());
    DrivenEngine mta = betweenMessages();
    mta.replace(next, options.build());
    assertEquals(List.of(), mta.say(MAIL));
    assertEquals(Wish.WAIT, mta.wish());
    assertEquals(List.of(), mta.passToDeadline());
    value.complete(List.of());
    assertEquals(List.of("c"), mta.runTasks());
    assertEquals(TAKING_OVER, next.heard());
  }

  @Test
  void aValueThatIsLateDefersTheMessage() {
    next.on(EventType.HELLO, waiting());
    DrivenEngine mta = betweenMessages();
    assertEquals(List.of(), mta.say(MAIL));
    List<String> answer = List.of();
    while (answer.isEmpty()) {
      answer = mta.passToDeadline();
    }
    assertEquals(List.of("t"), answer);
  }

  @Test
  void theOldOneMayTakeItsTimeToEnd() {
    old.on(EventType.DISCONNECT, waiting());
    DrivenEngine mta = betweenMessages();
    assertEquals(List.of(), mta.say(MAIL));
    assertEquals(List.of("negotiated"), next.heard());
    value.complete(null);
    assertEquals(List.of("c"), mta.runTasks());
    assertEquals(LEAVING, old.heard());
    assertEquals(TAKING_OVER.subList(1, 4), next.heard());
  }

  @Test
  void aConnectionThatIsLostWhileTheOldOneEndsEndsForBoth() {
    old.on(EventType.DISCONNECT, waiting());
    DrivenEngine mta = betweenMessages();
    mta.say(MAIL);
    mta.hangUp();
    assertEquals(LEAVING, old.heard());
    assertEquals(
        List.of("negotiated", "disconnect connection-lost", "end of client"), next.heard());
    assertNull(mta.missing());
  }

  @Test
  void aConnectionThatIsLostWhileTheClientBeginsAgainEndsOnce() {
    next.on(EventType.CONNECT, waiting());
    DrivenEngine mta = betweenMessages();
    mta.say(MAIL);
    mta.hangUp();
    assertEquals(LEAVING, old.heard());
    assertEquals(
        List.of(
            "negotiated",
            "connect client.example.org 192.0.2.1",
            "disconnect connection-lost",
            "end of client"),
        next.heard());
  }

  @Test
  void withoutAThreadTheMessageIsTheOldOnes() {
    DrivenEngine mta = betweenMessages();
    mta.sayWithoutThreads(MAIL);
    assertEquals(List.of("c"), mta.starve());
    assertEquals(List.of("mail <a@example.org>"), old.heard());
    assertEquals(List.of(), next.heard());
    mta.say(RCPT, EOM);
    assertEquals(List.of("c"), mta.say(MAIL));
    assertEquals(TAKING_OVER, next.heard());
  }

  @Test
  void aGreetingThatIsTooLongToBeKeptKeepsTheOldOne() {
    DrivenEngine mta = DrivenEngine.negotiated(old);
    mta.say(CONNECT, "H" + "h".repeat(65536) + "|");
    mta.replace(next);
    old.heard();
    mta.say(MAIL);
    assertEquals(List.of("mail <a@example.org>"), old.heard());
    assertEquals(Missing.event(EventType.HELLO), mta.missing());
    assertEquals(List.of("end of client"), next.heard());
    mta.say(RCPT, EOM, HELO, MAIL);
    assertTrue(old.heard().contains("mail <a@example.org>"), "it is not asked again");
    ScriptedHandler third = ScriptedHandler.hearingAll();
    mta.replace(third);
    mta.say(RCPT, EOM, MAIL);
    assertEquals(TAKING_OVER, third.heard());
  }

  @Test
  void theOneOfThatMomentNegotiates() {
    DrivenEngine mta = new DrivenEngine(old, EngineOptions.DEFAULTS);
    mta.replace(next);
    mta.say(OFFER, CONNECT);
    assertEquals(List.of(), old.heard());
    assertEquals(TAKING_OVER.subList(0, 2), next.heard());
  }

  @Test
  void aStopBetweenMessagesEndsTheOldOneOnly() {
    DrivenEngine mta = betweenMessages();
    mta.stop();
    assertEquals(List.of("disconnect stopping", "end of client"), old.heard());
    assertEquals(List.of(), next.heard());
  }

  @Test
  void aFactoryThatFailsToSayWhatItWantsDoesNotKeepOthersFromAsking() {
    for (boolean returnsNull : new boolean[] {true, false}) {
      MilterFactory factory =
          new MilterFactory() {
            @Override
            public MilterHandler open(ConnectionInfo connection) {
              return next;
            }

            @Override
            public Optional<Request> knownRequest() {
              if (returnsNull) {
                return null;
              }
              throw new StackOverflowError();
            }
          };
      Service service = new Service(factory, EngineOptions.DEFAULTS, ServerListener.SILENT);
      assertEquals(List.of(), new Succession(service).outdated());
    }
  }
}
