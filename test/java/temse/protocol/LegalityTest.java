package temse.protocol;

import static org.junit.jupiter.api.Assertions.assertDoesNotThrow;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import clojure.lang.IPersistentMap;
import java.util.Arrays;
import java.util.List;
import java.util.Set;
import java.util.stream.Collectors;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;

class LegalityTest {
  /** The events of the columns below: connect, hello, mail and so on, by their command bytes. */
  private static final String EVENTS = "CHMRTULNBE";

  /** Which reply may answer which event; skip is emulated where MTAs do not know it. */
  private static final String[] TABLE = {
    "CONTINUE           xxxxxxxxxx",
    "ACCEPT             xxxxx-xxxx",
    "REJECT             xxxxxxxxxx",
    "TEMPORARY_FAILURE  xxxxxxxxxx",
    "REPLY_CODE         xxxxxxxxxx",
    "DISCARD            --xxx-xxxx",
    "SKIP               ---x--x-x-",
    "SHUTDOWN           xxxxxxxxxx",
    "CONNECTION_FAILURE xxxxxxxxxx",
  };

  private final Agreement everything =
      Negotiation.agree(
          Offer.CURRENT, Request.builder().actions(List.of(ActionFlag.values())).build());
  private final Agreement nothing = Negotiation.agree(Offer.CURRENT, Request.builder().build());

  @Test
  @Tag("F40")
  @Tag("F56")
  @Tag("F58")
  void theTableOfRepliesHolds() {
    for (String line : TABLE) {
      ActionType type = ActionType.valueOf(line.substring(0, 19).strip());
      for (int column = 0; column < EVENTS.length(); column++) {
        EventType event = EventType.ofCode((byte) EVENTS.charAt(column));
        boolean legal = line.charAt(19 + column) == 'x';
        assertEquals(legal, Legality.replies(event).contains(type), type + " at " + event);
        if (legal) {
          assertDoesNotThrow(() -> check(event, type, nothing));
        } else {
          refused(MilterException.Category.REPLY_NOT_ALLOWED, event, type, nothing);
        }
      }
    }
  }

  @Test
  void theTableNamesEveryReplyAndEveryEventThatOwesOne() {
    assertEquals(
        Arrays.stream(ActionType.values())
            .filter(type -> type.kind == ActionType.Kind.REPLY)
            .map(ActionType::name)
            .collect(Collectors.toSet()),
        Arrays.stream(TABLE).map(l -> l.substring(0, 19).strip()).collect(Collectors.toSet()));
    assertEquals(
        Arrays.stream(EventType.values()).filter(EventType::owesReply).collect(Collectors.toSet()),
        EVENTS.chars().mapToObj(c -> EventType.ofCode((byte) c)).collect(Collectors.toSet()));
  }

  @Test
  void eventsThatOweNoReplyGetNothingAtAll() {
    for (EventType event : EventType.values()) {
      if (!event.owesReply()) {
        assertEquals(Set.of(), Legality.replies(event));
        for (ActionType type : ActionType.values()) {
          refused(MilterException.Category.REPLY_NOT_ALLOWED, event, type, everything);
        }
      }
    }
  }

  @Test
  @Tag("F37")
  void theMessageIsChangedAtItsEndOnly() {
    for (ActionType type : ActionType.values()) {
      if (type.kind == ActionType.Kind.MODIFICATION) {
        for (EventType event : EventType.values()) {
          if (event == EventType.END_OF_MESSAGE) {
            assertDoesNotThrow(() -> check(event, type, everything));
          } else {
            refused(MilterException.Category.REPLY_NOT_ALLOWED, event, type, everything);
          }
        }
      }
    }
  }

  @Test
  @Tag("F38")
  void eachChangeNeedsItsFlag() {
    for (ActionType type : ActionType.values()) {
      if (type.kind == ActionType.Kind.MODIFICATION) {
        MilterException refusal =
            refused(
                MilterException.Category.ACTION_NOT_NEGOTIATED,
                EventType.END_OF_MESSAGE,
                type,
                nothing);
        assertTrue(refusal.getMessage().contains(type.flag.constant), refusal.getMessage());
        assertTrue(refusal.getMessage().contains(":actions"), refusal.getMessage());
        assertEquals(Set.of(), refusal.getData().valAt(Wire.key("agreed")));

        Request request = Request.builder().actions(type.flag).build();
        Agreement enough = Negotiation.agree(Offer.CURRENT, request);
        assertDoesNotThrow(() -> check(EventType.END_OF_MESSAGE, type, enough));
      }
    }
  }

  @Test
  @Tag("F38")
  void parametersOfARecipientNeedTheirFlag() {
    Request request = Request.builder().actions(ActionFlag.ADD_RECIPIENT).build();
    Agreement agreement = Negotiation.agree(Offer.CURRENT, request);
    IPersistentMap action = Actions.addRecipient("<a>", List.of("NOTIFY=NEVER"));
    MilterException refusal =
        assertThrows(
            MilterException.class,
            () ->
                Legality.check(
                    EventType.END_OF_MESSAGE, ActionType.ADD_RECIPIENT, action, agreement));
    assertTrue(refusal.getMessage().contains("SMFIF_ADDRCPT_PAR"), refusal.getMessage());
  }

  @Test
  void progressMayBeToldWhereverAReplyIsOwed() {
    for (EventType event : EventType.values()) {
      if (event.owesReply()) {
        assertDoesNotThrow(() -> check(event, ActionType.PROGRESS, nothing));
      }
    }
  }

  @Test
  void refusalsNameWhatWouldBeRight() {
    MilterException refusal =
        refused(
            MilterException.Category.REPLY_NOT_ALLOWED,
            EventType.UNKNOWN,
            ActionType.ACCEPT,
            everything);
    assertTrue(refusal.getMessage().contains(":accept may not answer :unknown"));
    assertTrue(refusal.getMessage().contains(":continue"), refusal.getMessage());
    assertEquals(
        Legality.replies(EventType.UNKNOWN).stream()
            .map(type -> type.keyword)
            .collect(Collectors.toSet()),
        refusal.getData().valAt(Wire.key("allowed")));
  }

  private static void check(EventType event, ActionType type, Agreement agreement) {
    Legality.check(event, type, ActionCodec.action(type), agreement);
  }

  private static MilterException refused(
      MilterException.Category category, EventType event, ActionType type, Agreement agreement) {
    MilterException refusal =
        assertThrows(
            MilterException.class, () -> check(event, type, agreement), type + " at " + event);
    assertEquals(category, refusal.category(), type + " at " + event);
    return refusal;
  }
}
