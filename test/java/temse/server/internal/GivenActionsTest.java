package temse.server.internal;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static temse.server.internal.DrivenEngine.CONNECT;
import static temse.server.internal.DrivenEngine.EOM;
import static temse.server.internal.DrivenEngine.MAIL;
import static temse.server.internal.DrivenEngine.QUIT;
import static temse.server.internal.DrivenEngine.RCPT;

import clojure.lang.IPersistentMap;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;
import org.junit.jupiter.params.provider.ValueSource;
import temse.protocol.ActionFlag;
import temse.protocol.Actions;
import temse.protocol.EventType;
import temse.protocol.Keys;
import temse.protocol.MilterException;
import temse.protocol.MilterException.Category;

/** Actions are checked when they are given, and a response leaves whole or not at all. */
class GivenActionsTest {
  private static final IPersistentMap MARK = Actions.addHeader("X-Late", "yes");

  private static ScriptedHandler handler() {
    return ScriptedHandler.hearingAll()
        .asking(
            wishes ->
                wishes.actions(
                    ActionFlag.ADD_HEADER, ActionFlag.CHANGE_BODY, ActionFlag.CHANGE_HEADER));
  }

  private static Category refusal(Runnable work) {
    return assertThrows(MilterException.class, work::run).category();
  }

  static Object[][] wrong() {
    return new Object[][] {
      {EventType.MAIL, MARK, Category.REPLY_NOT_ALLOWED},
      {EventType.MAIL, Actions.skip(), Category.REPLY_NOT_ALLOWED},
      {EventType.CONNECT, Actions.discard(), Category.REPLY_NOT_ALLOWED},
      {EventType.ABORT, Actions.accept(), Category.REPLY_NOT_ALLOWED},
      {EventType.OPTIONS, Actions.accept(), Category.REPLY_NOT_ALLOWED},
      {EventType.DISCONNECT, MARK, Category.REPLY_NOT_ALLOWED},
      {EventType.END_OF_MESSAGE, Actions.quarantine("why"), Category.ACTION_NOT_NEGOTIATED},
      {
        EventType.END_OF_MESSAGE,
        ScriptedHandler.typed("add-header", Keys.NAME, "a:b", Keys.VALUE, "c"),
        Category.BAD_ACTION
      },
      {
        EventType.END_OF_MESSAGE,
        Actions.changeHeader("Subject", 1, "x").assoc(Keys.REASON, "y"),
        Category.BAD_ACTION
      },
      {
        EventType.END_OF_MESSAGE,
        Actions.changeHeader("Subject", 1, "x").without(Keys.VALUE),
        Category.BAD_ACTION
      },
      {EventType.END_OF_MESSAGE, ScriptedHandler.typed("acept"), Category.BAD_ACTION},
      {
        EventType.END_OF_MESSAGE,
        ScriptedHandler.typed("change-body", Keys.BODY, 7L),
        Category.BAD_ACTION
      }
    };
  }

  @ParameterizedTest
  @MethodSource("wrong")
  void whatCannotBeSentIsRefusedAtOnceAndLeavesNoTrace(
      EventType type, IPersistentMap action, Category category) {
    List<Category> refused = new ArrayList<>();
    ScriptedHandler handler =
        handler()
            .on(
                type,
                (event, call) -> {
                  refused.add(refusal(() -> call.send(action)));
                  return null;
                });
    DrivenEngine mta = new DrivenEngine(handler);
    mta.say(DrivenEngine.OFFER);

    assertEquals(
        List.of("c", "c", "c", "c"),
        mta.say(CONNECT, MAIL, RCPT, MAIL, DrivenEngine.ABORT, MAIL).subList(0, 4));
    assertEquals("c", mta.say(EOM, QUIT).get(0));
    assertEquals(category, refused.get(0));
    assertEquals(List.of("closed"), mta.reports());
  }

  @ParameterizedTest
  @ValueSource(booleans = {true, false})
  void anActionOfSomebodysOwnClassMayThrowAtAnyUse(boolean once) {
    for (IPersistentMap action : List.of(MARK, Actions.reject(), Actions.changeBody("new"))) {
      for (int use = 1; use < 60; use++) {
        IPersistentMap trap = new TrapAction(action, use, once, new StackOverflowError("at will"));
        ScriptedHandler handler = handler().answering(EventType.END_OF_MESSAGE, trap);
        DrivenEngine mta = DrivenEngine.negotiated(handler);
        List<String> replies = mta.say(MAIL, EOM, MAIL);
        String last = replies.get(replies.size() - 2);
        assertTrue(last.equals("t") && replies.size() == 3 || "cr".contains(last), "" + replies);
        assertEquals("c", replies.get(replies.size() - 1));
        assertFalse(mta.isClosed());
      }
    }
  }

  @Test
  void aResponseLeavesWholeOrNotAtAllWhereverItsEncodingFails() {
    boolean sent = false;
    for (int use = 1; use < 100 && !sent; use++) {
      IPersistentMap trap =
          ScriptedHandler.typed(
              "add-recipient",
              Keys.ADDRESS,
              "<c>",
              Keys.PARAMETERS,
              new TrapList(use, new StackOverflowError("at will")));
      ScriptedHandler handler =
          handler()
              .asking(
                  wishes ->
                      wishes.actions(ActionFlag.ADD_RECIPIENT, ActionFlag.ADD_RECIPIENT_PARAMETERS))
              .answering(EventType.END_OF_MESSAGE, MARK, trap, Actions.accept());
      List<String> replies = DrivenEngine.negotiated(handler).say(MAIL, EOM);
      sent = replies.size() > 2;
      List<String> whole = List.of("c", "hX-Late|yes|", "2<c>|NOTIFY=NEVER|", "a");
      assertEquals(sent ? whole : List.of("c", "t"), replies);
    }
    assertTrue(sent);
  }

  @Test
  void anActionIsTakenAsItIsWhenItIsGiven() {
    IPersistentMap trap = new TrapAction(MARK, 1000, true, new AssertionError("never"));
    DrivenEngine mta = DrivenEngine.negotiated(handler().answering(EventType.END_OF_MESSAGE, trap));
    assertEquals(List.of("c", "hX-Late|yes|", "c"), mta.say(MAIL, EOM));
  }
}
