package temse.protocol;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.EnumSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;

class SessionTest {
  private static final Map<Character, Session> STATES =
      Map.of(
          'S', Session.START,
          'N', Session.NEGOTIATED,
          'C', Session.CONNECTED,
          'E', Session.ENVELOPE,
          'H', Session.HEADERS,
          'B', Session.BODY,
          'm', Session.MESSAGE_SETTLED,
          'c', Session.CONNECTION_SETTLED,
          'X', Session.CLOSED);

  /** The columns of the tables: the commands, by their bytes. */
  private static final String EVENTS = "ODCHMRTLNBEAUQK";

  /** The state after each event; ! where it is refused. */
  private static final String[] TABLE = {
    "S N!!!!!!!!!!!!!!",
    "N !NCCE!!!!!!NNXN",
    "C !C!CE!!!!!!CCXN",
    "E !E!CEEEHBBBCEXN",
    "H !H!CE!!HBBBCHXN",
    "B !B!CE!!!!BBCBXN",
    "m !m!CEmmmmmmCmXN",
    "c !c!ccccccccccXN",
    "X !!!!!!!!!!!!!!!",
  };

  /** The same if the MTA was told not to send MAIL: any event of a message may begin one. */
  private static final String[] TABLE_WITHOUT_MAIL = {
    "S N!!!!!!!!!!!!!!",
    "N !NCCEEEHBBBNNXN",
    "C !C!CEEEHBBBCCXN",
    "E !E!CEEEHBBBCEXN",
    "H !H!CE!!HBBBCHXN",
    "B !B!CE!!!!BBCBXN",
    "m !m!CEEEHBBBCmXN",
    "c !c!ccccccccccXN",
    "X !!!!!!!!!!!!!!!",
  };

  @Test
  @Tag("F1")
  void everyEventInEveryStateLeadsWhereTheTableSays() {
    followTable(TABLE, false);
  }

  @Test
  void withoutMailAnyEventOfAMessageMayBeginOne() {
    followTable(TABLE_WITHOUT_MAIL, true);
  }

  private static void followTable(String[] table, boolean mailSuppressed) {
    assertEquals(Session.values().length, table.length);
    for (String line : table) {
      Session state = STATES.get(line.charAt(0));
      for (int column = 0; column < EVENTS.length(); column++) {
        EventType type = EventType.ofCode((byte) EVENTS.charAt(column));
        Session expected = STATES.get(line.charAt(2 + column));
        String step = type + " in state " + state;
        if (expected == null) {
          MilterException refusal =
              assertThrows(MilterException.class, () -> state.after(type, mailSuppressed), step);
          assertEquals(MilterException.Category.UNEXPECTED_EVENT, refusal.category());
          assertEquals(type.keyword, refusal.getData().valAt(Keys.EVENT));
          assertEquals(state.name(), refusal.getData().valAt(Wire.key("state")));
        } else {
          assertEquals(expected, state.after(type, mailSuppressed), step);
        }
      }
    }
  }

  @Test
  void theUsualOrderIsAccepted() {
    accepts("OCHMRTLNBEQ");
    accepts("OCHMRRTLLLNBBBEMRTLNBEQ");
    accepts("OQ");
  }

  @Test
  void theOrderOfPostfixIsAccepted() {
    accepts("ODCDHDMDRDTDLDLDNDBDEADMDAAQ");
  }

  @Test
  void theOrderOfSendmailIsAccepted() {
    accepts("ODCDHDMDRDTLLNBDEDMQ");
  }

  @Test
  void stepsThatAnMtaLeavesOutAreTolerated() {
    accepts("OHMRLNBEQ");
    accepts("OMRLNBE");
    accepts("OCMRE");
    accepts("OCMRBE");
    accepts("OCMRTE");
    accepts("OCHMRLBE");
    accepts("OCHMLNBE");
  }

  @Test
  void unknownCommandsDisturbNoMessage() {
    accepts("OUCUHUMURUTULNBEUQ");
    for (Session state : EnumSet.range(Session.NEGOTIATED, Session.CONNECTION_SETTLED)) {
      assertEquals(state, state.after(EventType.UNKNOWN, false));
      assertFalse(state.aborts(EventType.UNKNOWN));
      for (ActionType reply : Legality.replies(EventType.UNKNOWN)) {
        assertEquals(state, state.settle(EventType.UNKNOWN, reply));
      }
    }
  }

  @Test
  @Tag("F13")
  void macrosMayComeAnywhereAndChangeNothing() {
    for (Session state : EnumSet.range(Session.NEGOTIATED, Session.CONNECTION_SETTLED)) {
      assertEquals(state, state.after(EventType.DEFINE_MACRO, false));
    }
  }

  @Test
  @Tag("F26")
  @Tag("F27")
  @Tag("F28")
  void onlyTheFirstAbortInAMessageAborts() {
    Session state = accepts("OCHMR");
    assertTrue(state.aborts(EventType.ABORT));
    state = state.after(EventType.ABORT, false);
    assertFalse(state.aborts(EventType.ABORT));
    assertFalse(state.after(EventType.ABORT, false).aborts(EventType.ABORT));

    Session ended = accepts("OCHMRLNBE").settle(EventType.END_OF_MESSAGE, ActionType.CONTINUE);
    assertFalse(ended.aborts(EventType.ABORT));
  }

  @Test
  @Tag("F29")
  @Tag("F33")
  @Tag("F34")
  void eventsThatCannotBelongToTheMessageAbortIt() {
    Set<EventType> aborting =
        EnumSet.of(
            EventType.HELLO, EventType.MAIL, EventType.ABORT, EventType.QUIT, EventType.DISCONNECT);
    for (Session state : Session.values()) {
      for (EventType type : EventType.values()) {
        assertEquals(
            state.inMessage() && aborting.contains(type),
            state.aborts(type),
            type + " in state " + state);
      }
    }
  }

  @Test
  void aMessageIsInProgressFromMailToItsEnd() {
    assertEquals(
        EnumSet.of(Session.ENVELOPE, Session.HEADERS, Session.BODY),
        EnumSet.copyOf(List.of(Session.values()).stream().filter(Session::inMessage).toList()));
  }

  @Test
  @Tag("F31")
  void anotherClientMayFollowWithoutNegotiation() {
    accepts("OCHMRLNBEKCHMRLNBEQ");
    accepts("OCHMRKCQ");
    assertThrows(MilterException.class, () -> accepts("OCKO"));
  }

  @Test
  void repliesToContentEndTheMessage() {
    for (EventType type :
        List.of(
            EventType.MAIL,
            EventType.DATA,
            EventType.HEADER,
            EventType.END_OF_HEADERS,
            EventType.BODY)) {
      Session state = Session.ENVELOPE.after(type, false);
      for (ActionType reply :
          List.of(
              ActionType.ACCEPT,
              ActionType.REJECT,
              ActionType.TEMPORARY_FAILURE,
              ActionType.DISCARD)) {
        assertEquals(Session.MESSAGE_SETTLED, state.settle(type, reply), reply + " to " + type);
      }
      assertEquals(state, state.settle(type, ActionType.CONTINUE));
      assertEquals(state, state.settle(type, ActionType.SKIP));
    }
  }

  @Test
  @Tag("F36")
  void aRefusedRecipientLeavesTheMessageOpen() {
    Session state = Session.ENVELOPE;
    assertEquals(state, state.settle(EventType.RECIPIENT, ActionType.REJECT));
    assertEquals(state, state.settle(EventType.RECIPIENT, ActionType.TEMPORARY_FAILURE));
    assertEquals(state, state.settle(EventType.RECIPIENT, ActionType.CONTINUE));
    assertEquals(state, state.settle(EventType.RECIPIENT, ActionType.SKIP));
  }

  @Test
  void acceptingOrDiscardingAtARecipientEndsTheMessage() {
    Session state = Session.ENVELOPE;
    assertEquals(Session.MESSAGE_SETTLED, state.settle(EventType.RECIPIENT, ActionType.ACCEPT));
    assertEquals(Session.MESSAGE_SETTLED, state.settle(EventType.RECIPIENT, ActionType.DISCARD));
  }

  @Test
  void everyReplyAtTheEndOfAMessageEndsIt() {
    for (ActionType reply : Legality.replies(EventType.END_OF_MESSAGE)) {
      assertEquals(
          Session.CONNECTED, Session.BODY.settle(EventType.END_OF_MESSAGE, reply), "" + reply);
    }
  }

  @Test
  void repliesAtConnectAndHelloOtherThanContinueSettleTheConnection() {
    for (EventType type : List.of(EventType.CONNECT, EventType.HELLO)) {
      for (ActionType reply :
          List.of(ActionType.ACCEPT, ActionType.REJECT, ActionType.TEMPORARY_FAILURE)) {
        assertEquals(Session.CONNECTION_SETTLED, Session.CONNECTED.settle(type, reply), "" + reply);
      }
      assertEquals(Session.CONNECTED, Session.CONNECTED.settle(type, ActionType.CONTINUE));
    }
  }

  @Test
  void repliesOutsideAMessageEndNone() {
    for (Session state :
        List.of(Session.CONNECTED, Session.MESSAGE_SETTLED, Session.CONNECTION_SETTLED)) {
      for (EventType type :
          List.of(EventType.RECIPIENT, EventType.HEADER, EventType.END_OF_MESSAGE)) {
        assertEquals(state, state.settle(type, ActionType.REJECT));
      }
    }
  }

  @Test
  @Tag("F35")
  void anotherMessageMayFollowOneThatAReplyHasEnded() {
    Session settled = Session.ENVELOPE.settle(EventType.MAIL, ActionType.ACCEPT);
    assertEquals(Session.ENVELOPE, settled.after(EventType.MAIL, false));
    assertEquals(Session.CONNECTED, settled.after(EventType.ABORT, false));
    assertEquals(Session.CONNECTED, settled.after(EventType.HELLO, false));
  }

  /** Returns the state after the commands, each answered with continue. */
  private static Session accepts(String commands) {
    Session state = Session.START;
    for (char command : commands.toCharArray()) {
      EventType type = EventType.ofCode((byte) command);
      state = state.after(type, false).settle(type, ActionType.CONTINUE);
    }
    return state;
  }
}
