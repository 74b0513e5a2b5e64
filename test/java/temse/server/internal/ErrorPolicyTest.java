package temse.server.internal;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static temse.server.internal.DrivenEngine.ABORT;
import static temse.server.internal.DrivenEngine.BODY;
import static temse.server.internal.DrivenEngine.CONNECT;
import static temse.server.internal.DrivenEngine.DATA;
import static temse.server.internal.DrivenEngine.EOH;
import static temse.server.internal.DrivenEngine.EOM;
import static temse.server.internal.DrivenEngine.HEADER;
import static temse.server.internal.DrivenEngine.HELO;
import static temse.server.internal.DrivenEngine.MAIL;
import static temse.server.internal.DrivenEngine.RCPT;

import clojure.lang.IPersistentMap;
import clojure.lang.Keyword;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.stream.Stream;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.MethodSource;
import org.junit.jupiter.params.provider.ValueSource;
import temse.protocol.Action;
import temse.protocol.ActionFlag;
import temse.protocol.Actions;
import temse.protocol.EventType;
import temse.protocol.Keys;
import temse.protocol.MilterException;
import temse.server.EngineOptions;

/** What happens when a handler fails, or answers what cannot be sent. */
class ErrorPolicyTest {
  private static final IPersistentMap X = Actions.addHeader("X-A", "1");

  private final ScriptedHandler handler =
      ScriptedHandler.hearingAll()
          .asking(wishes -> wishes.actions(ActionFlag.ADD_HEADER, ActionFlag.CHANGE_BODY));
  private final DrivenEngine mta = DrivenEngine.negotiated(handler);

  private List<String> endOfMessage(IPersistentMap... actions) {
    handler.answering(EventType.END_OF_MESSAGE, actions);
    mta.say(MAIL, RCPT);
    return mta.say(EOM);
  }

  @ParameterizedTest
  @ValueSource(strings = {CONNECT, HELO, MAIL, RCPT, DATA, HEADER, EOH, BODY, EOM, "UFOO|"})
  void aFailingHandlerIsATemporaryFailureAndTheConnectionLivesOn(String packet) {
    EventType type = EventType.ofCode((byte) packet.charAt(0));
    handler.failing(type);
    if (type.inMessage() && type != EventType.MAIL) {
      mta.say(MAIL);
    }

    assertEquals(List.of("t"), mta.say(packet));
    assertEquals(List.of("failed " + type + " IllegalStateException"), mta.reports());

    handler.answering(type);
    boolean settled = type == EventType.CONNECT || type == EventType.HELLO;
    assertEquals(List.of(settled ? "t" : "c"), mta.say(MAIL));
  }

  @Test
  void aFailingHandlerOfAnEventWithoutReplyIsReported() {
    handler.failing(EventType.ABORT, EventType.MESSAGE_END);
    mta.say(MAIL);
    handler.heard();

    assertEquals(List.of(), mta.say(ABORT));
    assertEquals(List.of("abort", "message-end aborted", "end of message"), handler.heard());
    assertEquals(
        List.of("failed ABORT IllegalStateException", "failed MESSAGE_END IllegalStateException"),
        mta.reports());
    assertEquals(List.of("c"), mta.say(MAIL));
  }

  @Test
  void anErrorThatIsNoExceptionIsAFailureToo() {
    handler.on(
        EventType.MAIL,
        (event, connection) -> {
          throw new StackOverflowError();
        });

    assertEquals(List.of("t"), mta.say(MAIL));
    assertEquals(List.of("failed MAIL StackOverflowError"), mta.reports());
  }

  @Test
  void theErrorPolicyAnswersInTheHandlersPlace() {
    handler
        .failing(EventType.END_OF_MESSAGE)
        .onError((event, connection) -> List.of(X, Actions.accept()));
    mta.say(MAIL);

    assertEquals(List.of("hX-A|1|", "a"), mta.say(EOM));
  }

  @Test
  void anErrorPolicyThatGivesNoActionsLeavesTheDefaultReply() {
    handler.failing(EventType.MAIL).onError((event, connection) -> List.of());

    assertEquals(List.of("c"), mta.say(MAIL));
  }

  static Stream<ScriptedHandler.Answer> badPolicies() {
    return Stream.of(
        (event, connection) -> null,
        (event, connection) -> List.of(Actions.discard()),
        (event, connection) -> List.of(X, Actions.accept()),
        (event, connection) -> List.of(ScriptedHandler.typed("reply-code", Keys.SMTP_CODE, 700L)),
        (event, connection) -> {
          throw new IllegalArgumentException("the policy fails, too");
        });
  }

  @ParameterizedTest
  @MethodSource("badPolicies")
  void anErrorPolicyThatFailsLeavesATemporaryFailure(ScriptedHandler.Answer policy) {
    handler.failing(EventType.CONNECT).onError(policy);

    assertEquals(List.of("t"), mta.say(CONNECT));
    assertEquals(2, mta.reports().size(), "both failures are reported");
  }

  @Test
  void theErrorPolicyIsNotAskedWhereNoReplyIsOwed() {
    handler.failing(EventType.ABORT);
    mta.say(MAIL);
    handler.heard();

    mta.say(ABORT);
    assertEquals(List.of("abort", "message-end aborted", "end of message"), handler.heard());
  }

  static Stream<Arguments> badThirds() {
    return Stream.of(
        Arguments.of(Actions.quarantine("not agreed"), "ACTION_NOT_NEGOTIATED"),
        Arguments.of(
            ScriptedHandler.typed("add-header", Keys.NAME, "X B", Keys.VALUE, "2"), "BAD_ACTION"),
        Arguments.of(
            ScriptedHandler.typed("add-header", Keys.NAME, "X-B", Keys.VALUE, "a\rb"),
            "BAD_ACTION"),
        Arguments.of(
            ScriptedHandler.typed("add-header", Keys.NAME, "X-B", Keys.VALUE, "a\u0000b"),
            "BAD_ACTION"),
        Arguments.of(ScriptedHandler.typed("change-body", Keys.BODY, 42), "BAD_ACTION"),
        Arguments.of(ScriptedHandler.typed("reply-code", Keys.SMTP_CODE, 250L), "BAD_ACTION"),
        Arguments.of(
            ScriptedHandler.typed("reply-code", Keys.SMTP_CODE, 550L, Keys.ENHANCED_CODE, "4.7.1"),
            "BAD_ACTION"),
        Arguments.of(Actions.skip(), "REPLY_NOT_ALLOWED"),
        Arguments.of(Actions.proceed().assoc(Keys.ACTION, Keyword.intern("explode")), "BAD_ACTION"),
        Arguments.of(null, "NullPointerException"));
  }

  @ParameterizedTest
  @MethodSource("badThirds")
  @Tag("F38")
  void ifTheThirdActionIsWrongNothingOfTheResponseLeaves(IPersistentMap third, String category) {
    assertEquals(List.of("t"), endOfMessage(X, Actions.changeBody("new\r\n"), third));
    assertEquals(List.of("failed END_OF_MESSAGE " + category), mta.reports());
    assertEquals(List.of("hX-A|1|", "c"), endOfMessage(X), "the next message is served");
  }

  @Test
  void ifAReturnedActionIsWrongWhatWasSentBeforeDoesNotLeaveEither() {
    handler.on(
        EventType.END_OF_MESSAGE,
        (event, connection) -> {
          connection.send(X);
          return List.of(Actions.skip());
        });
    mta.say(MAIL);

    assertEquals(List.of("t"), mta.say(EOM));
  }

  @Test
  void aSecondReplyIsAFailureOfTheHandler() {
    assertEquals(List.of("t"), endOfMessage(X, Actions.accept(), Actions.reject()));
    assertEquals(List.of("failed END_OF_MESSAGE DOUBLE_REPLY"), mta.reports());
  }

  @Test
  void aModificationAfterTheReplyIsAFailureOfTheHandler() {
    assertEquals(List.of("t"), endOfMessage(Actions.accept(), X));
    assertEquals(List.of("failed END_OF_MESSAGE LATE_ACTION"), mta.reports());
  }

  @Test
  void aReplyBesideOneThatWasSentIsAFailureOfTheHandler() {
    handler.on(
        EventType.MAIL,
        (event, connection) -> {
          connection.send(Actions.accept());
          return List.of(Actions.reject());
        });

    assertEquals(List.of("t"), mta.say(MAIL));
    assertEquals(List.of("failed MAIL DOUBLE_REPLY"), mta.reports());
  }

  @Test
  void whatIsSentComesBeforeWhatIsReturned() {
    handler.on(
        EventType.END_OF_MESSAGE,
        (event, connection) -> {
          connection.send(Actions.addHeader("X-B", "2"));
          return List.of(X, Actions.accept());
        });
    mta.say(MAIL);

    assertEquals(List.of("hX-B|2|", "hX-A|1|", "a"), mta.say(EOM));
  }

  @Test
  void sendTellsTheHandlerAtOnceWhatCannotBeSent() {
    List<MilterException.Category> refusals = new ArrayList<>();
    handler.on(
        EventType.MAIL,
        (event, connection) -> {
          for (IPersistentMap action : List.of(X, Actions.skip())) {
            refusals.add(
                assertThrows(MilterException.class, () -> connection.send(action)).category());
          }
          connection.send(Actions.accept());
          refusals.add(
              assertThrows(MilterException.class, () -> connection.send(Actions.reject()))
                  .category());
          return null;
        });

    assertEquals(List.of("a"), mta.say(MAIL));
    assertEquals(
        List.of(
            MilterException.Category.REPLY_NOT_ALLOWED,
            MilterException.Category.REPLY_NOT_ALLOWED,
            MilterException.Category.DOUBLE_REPLY),
        refusals);
    assertEquals(List.of(), mta.reports(), "the handler has dealt with it");
  }

  @Test
  void nothingCanBeSentWhenTheEventIsOver() {
    mta.say(MAIL);

    MilterException stale =
        assertThrows(MilterException.class, () -> handler.connection().send(Actions.accept()));
    assertEquals(MilterException.Category.STALE_CONTEXT, stale.category());
    assertEquals(List.of("c"), mta.say(RCPT));
  }

  @ParameterizedTest
  @ValueSource(strings = {CONNECT, HELO, MAIL, RCPT, DATA, HEADER, EOH, BODY, "UFOO|"})
  @Tag("F37")
  void messagesAreNotChangedBeforeTheirEnd(String packet) {
    EventType type = EventType.ofCode((byte) packet.charAt(0));
    handler.answering(type, X, Actions.proceed());
    if (type.inMessage() && type != EventType.MAIL) {
      mta.say(MAIL);
    }

    assertEquals(List.of("t"), mta.say(packet));
    assertEquals(List.of("failed " + type + " REPLY_NOT_ALLOWED"), mta.reports());
  }

  @ParameterizedTest
  @ValueSource(strings = {CONNECT, HELO})
  @Tag("F56")
  void aConnectionCannotBeDiscarded(String packet) {
    EventType type = EventType.ofCode((byte) packet.charAt(0));
    handler.answering(type, Actions.discard());

    assertEquals(List.of("t"), mta.say(packet));
    assertEquals(List.of("failed " + type + " REPLY_NOT_ALLOWED"), mta.reports());
  }

  @Test
  @Tag("F58")
  void anUnknownCommandIsNeitherAcceptedNorDiscarded() {
    for (IPersistentMap verdict : Arrays.asList(Actions.accept(), Actions.discard())) {
      handler.answering(EventType.UNKNOWN, verdict);
      assertEquals(List.of("t"), mta.say("UFOO|"));
    }
  }

  @Test
  @Tag("F53")
  void theReservedRepliesLeaveAsReplyCodes() {
    for (String name : List.of("shutdown", "connection-failure")) {
      handler.answering(EventType.MAIL, Actions.proceed().assoc(Keys.ACTION, Keyword.intern(name)));
      assertEquals(
          List.of("y421 4.7.0 Service not available, closing transmission channel|"),
          mta.say(MAIL));
    }
  }

  @Test
  void theDefaultReplyIsContinueUnlessTheOptionsSayOtherwise() {
    ScriptedHandler quiet = ScriptedHandler.hearingAll();
    DrivenEngine strict =
        DrivenEngine.negotiated(
            quiet,
            EngineOptions.builder().defaultReply(EventType.RECIPIENT, Action.reject()).build());

    assertEquals(List.of("c", "r", "c"), strict.say(MAIL, RCPT, HEADER));
    quiet.answering(EventType.RECIPIENT, Actions.proceed());
    strict.say(ABORT);
    assertEquals(List.of("c", "c"), strict.say(MAIL, RCPT));
  }

  @Test
  void aReplyThatCannotAnswerTheEventCannotBeItsDefault() {
    MilterException refusal =
        assertThrows(
            MilterException.class,
            () -> EngineOptions.builder().defaultReply(EventType.CONNECT, Action.discard()));
    assertEquals(MilterException.Category.BAD_OPTIONS, refusal.category());
  }

  @Test
  void aHandlerMayCloseTheConnectionAfterItsResponse() {
    handler.on(
        EventType.MAIL,
        (event, connection) -> {
          connection.close();
          return List.of(Actions.reject());
        });
    mta.say(CONNECT);

    assertEquals(List.of("r"), mta.say(MAIL, RCPT));
    assertEquals(true, mta.isClosed());
    assertEquals(1, handler.heard().stream().filter(line -> line.startsWith("disconnect")).count());
  }
}
