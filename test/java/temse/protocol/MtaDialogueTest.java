package temse.protocol;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import clojure.lang.IPersistentMap;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.EnumSource.Mode;

class MtaDialogueTest {
  private static final IPersistentMap BYE = Actions.replyCode(421, "4.7.0", "bye");
  private static final List<MtaDialogue> BOTH = List.of(MtaDialogue.POSTFIX, MtaDialogue.SENDMAIL);
  private static final List<EventType> MESSAGE =
      List.of(
          EventType.CONNECT,
          EventType.HELLO,
          EventType.MAIL,
          EventType.RECIPIENT,
          EventType.DATA,
          EventType.HEADER,
          EventType.END_OF_HEADERS,
          EventType.BODY,
          EventType.END_OF_MESSAGE);

  /** Returns the dialogue after all events up to one, which gets the reply. */
  private static MtaDialogue until(MtaDialogue dialogue, EventType last, IPersistentMap reply) {
    for (EventType type : MESSAGE) {
      dialogue = dialogue.after(type, type == last ? reply : null);
      if (type == last) {
        return dialogue;
      }
    }
    throw new AssertionError(last);
  }

  @ParameterizedTest
  @EnumSource(names = {"CONNECT", "HELLO", "MAIL", "RECIPIENT", "DATA", "HEADER", "END_OF_MESSAGE"})
  void a421IsTheLastReply(EventType type) {
    for (MtaDialogue start : BOTH) {
      MtaDialogue dialogue = until(start, type, BYE);
      assertEquals(ActionType.TEMPORARY_FAILURE, dialogue.verdict());
      assertEquals(type, dialogue.at());
      for (EventType next : MESSAGE) {
        assertFalse(dialogue.may(next), next.toString());
      }
    }
  }

  @Test
  void postfixHangsUpAtA521Too() {
    IPersistentMap reply = Actions.replyCode(521, "5.7.1", "no mail here");
    assertTrue(until(MtaDialogue.POSTFIX, EventType.RECIPIENT, reply).hangsUp());
    assertEquals(
        ActionType.REJECT, until(MtaDialogue.POSTFIX, EventType.RECIPIENT, reply).verdict());
    assertFalse(until(MtaDialogue.SENDMAIL, EventType.RECIPIENT, reply).hangsUp());
  }

  @Test
  void sendmailTakesA421OfSeveralLinesAtConnectForADeferral() {
    IPersistentMap lines = Actions.replyCode(421, "4.7.0", "one\ntwo");
    assertFalse(until(MtaDialogue.SENDMAIL, EventType.CONNECT, lines).hangsUp());
    assertTrue(until(MtaDialogue.SENDMAIL, EventType.HELLO, lines).hangsUp());
  }

  @ParameterizedTest
  @EnumSource(
      names = {"RECIPIENT", "CONNECT", "HELLO", "MAIL"},
      mode = Mode.INCLUDE)
  void aRejectEndsWhatItIsAbout(EventType type) {
    for (MtaDialogue start : BOTH) {
      MtaDialogue dialogue = until(start, type, Actions.reject());
      assertEquals(ActionType.REJECT, dialogue.verdict());
      assertFalse(dialogue.may(EventType.DATA));
      assertEquals(
          type != EventType.CONNECT && type != EventType.HELLO, dialogue.may(EventType.MAIL));
    }
  }

  @Test
  void oneRecipientThatIsTakenKeepsTheMessageGoing() {
    for (MtaDialogue start : BOTH) {
      MtaDialogue dialogue =
          until(start, EventType.RECIPIENT, Actions.reject()).after(EventType.RECIPIENT, null);
      assertTrue(dialogue.may(EventType.DATA));
      assertNull(dialogue.verdict());
    }
  }

  @Test
  void aDeferredRecipientWinsOverRefusedOnes() {
    for (MtaDialogue start : BOTH) {
      MtaDialogue dialogue =
          until(start, EventType.RECIPIENT, Actions.reject())
              .after(EventType.RECIPIENT, Actions.temporaryFailure())
              .after(EventType.RECIPIENT, Actions.reject());
      assertEquals(ActionType.TEMPORARY_FAILURE, dialogue.verdict());
    }
  }

  @Test
  void postfixLeavesOutEventsOfTheKindThatIsSkippedUntilAnotherComes() {
    MtaDialogue dialogue = until(MtaDialogue.POSTFIX, EventType.HEADER, Actions.skip());
    assertFalse(dialogue.may(EventType.HEADER));
    assertTrue(dialogue.after(EventType.END_OF_HEADERS, null).may(EventType.BODY));
  }

  @Test
  void sendmailLeavesOutTheBodyThen() {
    MtaDialogue dialogue = until(MtaDialogue.SENDMAIL, EventType.HEADER, Actions.skip());
    assertTrue(dialogue.may(EventType.HEADER));
    assertFalse(dialogue.after(EventType.END_OF_HEADERS, null).may(EventType.BODY));
    assertFalse(
        until(MtaDialogue.SENDMAIL, EventType.MAIL, Actions.skip()).may(EventType.RECIPIENT));
  }

  @Test
  void theVerdictIsForgottenWithTheNextMessage() {
    for (MtaDialogue start : BOTH) {
      MtaDialogue dialogue = until(start, EventType.END_OF_MESSAGE, null);
      assertEquals(ActionType.ACCEPT, dialogue.verdict());
      assertNull(dialogue.after(EventType.MAIL, null).verdict());
    }
  }

  @Test
  void whatNoMtaSaysIsRefused() {
    for (MtaDialogue start : BOTH) {
      assertThrows(MilterException.class, () -> start.after(EventType.END_OF_MESSAGE, null));
      MtaDialogue lacksMail = start.withoutMail();
      assertTrue(lacksMail.after(EventType.RECIPIENT, null).inMessage());
    }
  }
}
