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

class PhaseTest {
  private static final Map<Character, Phase> STATES =
      Map.of(
          'S', Phase.START,
          'N', Phase.NEGOTIATED,
          'C', Phase.CONNECTED,
          'E', Phase.ENVELOPE,
          'H', Phase.HEADERS,
          'B', Phase.BODY,
          'm', Phase.MESSAGE_SETTLED,
          'c', Phase.CONNECTION_SETTLED,
          'X', Phase.CLOSED);

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
    assertEquals(Phase.values().length, table.length);
    for (String line : table) {
      Phase state = STATES.get(line.charAt(0));
      for (int column = 0; column < EVENTS.length(); column++) {
        EventType type = EventType.ofCode((byte) EVENTS.charAt(column));
        Phase expected = STATES.get(line.charAt(2 + column));
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
    for (Phase state : EnumSet.range(Phase.NEGOTIATED, Phase.CONNECTION_SETTLED)) {
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
    for (Phase state : EnumSet.range(Phase.NEGOTIATED, Phase.CONNECTION_SETTLED)) {
      assertEquals(state, state.after(EventType.DEFINE_MACRO, false));
    }
  }

  @Test
  @Tag("F26")
  @Tag("F27")
  @Tag("F28")
  void onlyTheFirstAbortInAMessageAborts() {
    Phase state = accepts("OCHMR");
    assertTrue(state.aborts(EventType.ABORT));
    state = state.after(EventType.ABORT, false);
    assertFalse(state.aborts(EventType.ABORT));
    assertFalse(state.after(EventType.ABORT, false).aborts(EventType.ABORT));

    Phase ended = accepts("OCHMRLNBE").settle(EventType.END_OF_MESSAGE, ActionType.CONTINUE);
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
    for (Phase state : Phase.values()) {
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
        EnumSet.of(Phase.ENVELOPE, Phase.HEADERS, Phase.BODY),
        EnumSet.copyOf(List.of(Phase.values()).stream().filter(Phase::inMessage).toList()));
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
      Phase state = Phase.ENVELOPE.after(type, false);
      for (ActionType reply :
          List.of(
              ActionType.ACCEPT,
              ActionType.REJECT,
              ActionType.TEMPORARY_FAILURE,
              ActionType.DISCARD)) {
        assertEquals(Phase.MESSAGE_SETTLED, state.settle(type, reply), reply + " to " + type);
      }
      assertEquals(state, state.settle(type, ActionType.CONTINUE));
      assertEquals(state, state.settle(type, ActionType.SKIP));
    }
  }

  @Test
  @Tag("F36")
  void aRefusedRecipientLeavesTheMessageOpen() {
    Phase state = Phase.ENVELOPE;
    assertEquals(state, state.settle(EventType.RECIPIENT, ActionType.REJECT));
    assertEquals(state, state.settle(EventType.RECIPIENT, ActionType.TEMPORARY_FAILURE));
    assertEquals(state, state.settle(EventType.RECIPIENT, ActionType.CONTINUE));
    assertEquals(state, state.settle(EventType.RECIPIENT, ActionType.SKIP));
  }

  @Test
  void acceptingOrDiscardingAtARecipientEndsTheMessage() {
    Phase state = Phase.ENVELOPE;
    assertEquals(Phase.MESSAGE_SETTLED, state.settle(EventType.RECIPIENT, ActionType.ACCEPT));
    assertEquals(Phase.MESSAGE_SETTLED, state.settle(EventType.RECIPIENT, ActionType.DISCARD));
  }

  @Test
  void everyReplyAtTheEndOfAMessageEndsIt() {
    for (ActionType reply : Legality.replies(EventType.END_OF_MESSAGE)) {
      assertEquals(Phase.CONNECTED, Phase.BODY.settle(EventType.END_OF_MESSAGE, reply), "" + reply);
    }
  }

  @Test
  void repliesAtConnectAndHelloOtherThanContinueSettleTheConnection() {
    for (EventType type : List.of(EventType.CONNECT, EventType.HELLO)) {
      for (ActionType reply :
          List.of(ActionType.ACCEPT, ActionType.REJECT, ActionType.TEMPORARY_FAILURE)) {
        assertEquals(Phase.CONNECTION_SETTLED, Phase.CONNECTED.settle(type, reply), "" + reply);
      }
      assertEquals(Phase.CONNECTED, Phase.CONNECTED.settle(type, ActionType.CONTINUE));
    }
  }

  @Test
  void repliesOutsideAMessageEndNone() {
    for (Phase state : List.of(Phase.CONNECTED, Phase.MESSAGE_SETTLED, Phase.CONNECTION_SETTLED)) {
      for (EventType type :
          List.of(EventType.RECIPIENT, EventType.HEADER, EventType.END_OF_MESSAGE)) {
        assertEquals(state, state.settle(type, ActionType.REJECT));
      }
    }
  }

  @Test
  @Tag("F35")
  void anotherMessageMayFollowOneThatAReplyHasEnded() {
    Phase settled = Phase.ENVELOPE.settle(EventType.MAIL, ActionType.ACCEPT);
    assertEquals(Phase.ENVELOPE, settled.after(EventType.MAIL, false));
    assertEquals(Phase.CONNECTED, settled.after(EventType.ABORT, false));
    assertEquals(Phase.CONNECTED, settled.after(EventType.HELLO, false));
  }

  /** Returns the state after the commands, each answered with continue. */
  private static Phase accepts(String commands) {
    Phase state = Phase.START;
    for (char command : commands.toCharArray()) {
      EventType type = EventType.ofCode((byte) command);
      state = state.after(type, false).settle(type, ActionType.CONTINUE);
    }
    return state;
  }
}
