package temse.server.internal;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static temse.server.internal.DrivenEngine.EOM;
import static temse.server.internal.DrivenEngine.HEADER;
import static temse.server.internal.DrivenEngine.MAIL;
import static temse.server.internal.DrivenEngine.offer;

import clojure.lang.IPersistentMap;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import temse.protocol.ActionFlag;
import temse.protocol.Actions;
import temse.protocol.EventType;
import temse.protocol.Keys;

class ModificationsTest {
  private static final String OLD_MTA = offer(6, 0x1FF, 0x0FFFFF);

  private final ScriptedHandler handler =
      ScriptedHandler.hearing(EventType.HEADER, EventType.END_OF_MESSAGE)
          .asking(wishes -> wishes.actions(ActionFlag.values()));

  private List<String> endOfMessage(IPersistentMap... actions) {
    handler.answering(EventType.END_OF_MESSAGE, actions);
    List<String> replies = DrivenEngine.negotiated(handler).say(MAIL, EOM);
    return replies.subList(1, replies.size());
  }

  @Test
  @Tag("F41")
  void modificationsComeInOrderBeforeTheOneReply() {
    assertEquals(
        List.of(
            "hX-A|1|",
            "i||||X-B|2|",
            "m|||\1Subject|new|",
            "m|||\2Subject||",
            "+<c@example.org>|",
            "2<d@example.org>|NOTIFY=NEVER|",
            "-<b@example.com>|",
            "e<e@example.org>|",
            "qwhy|",
            "bnew\r\n",
            "a"),
        endOfMessage(
            Actions.addHeader("X-A", "1"),
            Actions.insertHeader(0, "X-B", "2"),
            Actions.changeHeader("Subject", 1, "new"),
            Actions.deleteHeader("Subject", 2),
            Actions.addRecipient("<c@example.org>"),
            Actions.addRecipient("<d@example.org>", List.of("NOTIFY=NEVER")),
            Actions.deleteRecipient("<b@example.com>"),
            Actions.changeSender("<e@example.org>"),
            Actions.quarantine("why"),
            Actions.changeBody("new\r\n"),
            Actions.accept()));
  }

  @Test
  @Tag("F42")
  @Tag("W11")
  void thePiecesOfANewBodyFollowEachOther() {
    handler.answering(
        EventType.END_OF_MESSAGE,
        Actions.addHeader("X-A", "1"),
        Actions.changeBody(List.of("x".repeat(65535), "y")),
        Actions.addHeader("X-B", "2"));

    List<String> replies = DrivenEngine.negotiated(handler).say(MAIL, EOM);
    assertEquals(List.of("c", "hX-A|1|", "b" + "x".repeat(65535), "by", "hX-B|2|", "c"), replies);
  }

  @Test
  @Tag("F42")
  void theBodyIsReplacedOnceInAResponse() {
    handler.answering(EventType.END_OF_MESSAGE, Actions.changeBody("a"), Actions.changeBody("b"));
    DrivenEngine mta = DrivenEngine.negotiated(handler);

    assertEquals(List.of("c", "t"), mta.say(MAIL, EOM));
    assertEquals(List.of("failed END_OF_MESSAGE BAD_ACTION"), mta.reports());
  }

  @Test
  @Tag("F43")
  void anEmptyBodyIsOneEmptyPacket() {
    assertEquals(List.of("b", "c"), endOfMessage(Actions.changeBody(""), Actions.proceed()));
  }

  @Test
  @Tag("F57")
  void plainRepliesHaveNoPayload() {
    Map<String, IPersistentMap> plain =
        Map.of(
            "c", Actions.proceed(),
            "a", Actions.accept(),
            "r", Actions.reject(),
            "t", Actions.temporaryFailure(),
            "d", Actions.discard());
    plain.forEach(
        (wire, action) ->
            assertEquals(List.of(wire), endOfMessage(action.assoc(Keys.WHY, "not for the wire"))));
  }

  @Test
  @Tag("F38")
  void parametersOfARecipientNeedAFlagOfTheirOwn() {
    ScriptedHandler plain =
        ScriptedHandler.hearing(EventType.END_OF_MESSAGE)
            .asking(wishes -> wishes.actions(ActionFlag.ADD_RECIPIENT))
            .answering(
                EventType.END_OF_MESSAGE,
                Actions.addRecipient("<c@example.org>", List.of("NOTIFY=NEVER")));
    DrivenEngine mta = DrivenEngine.negotiated(plain);

    assertEquals(List.of("t"), mta.say(EOM));
    assertEquals(List.of("failed END_OF_MESSAGE ACTION_NOT_NEGOTIATED"), mta.reports());
  }

  @Test
  @Tag("F38")
  void anOptionalActionThatTheMtaLacksIsRefusedHere() {
    ScriptedHandler modest =
        ScriptedHandler.hearing(EventType.END_OF_MESSAGE)
            .asking(wishes -> wishes.optionalActions(List.of(ActionFlag.QUARANTINE)))
            .answering(EventType.END_OF_MESSAGE, Actions.quarantine("why"));
    DrivenEngine mta = new DrivenEngine(modest);
    mta.say(offer(6, 0x01, 0x1FFFFF));

    assertEquals(List.of("t"), mta.say(EOM));
    assertEquals(List.of("failed END_OF_MESSAGE ACTION_NOT_NEGOTIATED"), mta.reports());
  }

  @Test
  @Tag("F24")
  void valuesTravelAsTheyAreWithOrWithoutTheFlag() {
    handler.answering(EventType.END_OF_MESSAGE, Actions.addHeader("X-A", " 1"));
    DrivenEngine without = DrivenEngine.negotiated(handler);
    assertEquals(List.of("c", "hX-A| 1|", "c"), without.say("LX|v|", EOM));
    assertEquals("header X#1=v", handler.heard().get(0));

    handler.asking(wishes -> wishes.leadingSpace(true));
    DrivenEngine with = DrivenEngine.negotiated(handler);
    assertEquals(List.of("c", "hX-A| 1|", "c"), with.say("LX| v|", EOM));
    assertEquals("header X#1= v", handler.heard().get(0));
  }

  @Test
  @Tag("F24")
  void leadingSpacesAreEmulatedBothWaysForAnMtaThatCannotKeepThem() {
    handler
        .asking(wishes -> wishes.leadingSpace(true))
        .answering(
            EventType.END_OF_MESSAGE,
            Actions.addHeader("X-A", " 1"),
            Actions.addHeader("X-B", "  2"),
            Actions.addHeader("X-C", "3"),
            Actions.insertHeader(0, "X-D", " 4"),
            Actions.changeHeader("X-E", 1, " 5"),
            Actions.deleteHeader("X-F", 1));
    DrivenEngine mta = new DrivenEngine(handler);
    mta.say(OLD_MTA);
    handler.heard();

    assertEquals(List.of("c"), mta.say(HEADER));
    assertEquals(List.of("header Subject#1= hi"), handler.heard());
    assertEquals(
        List.of(
            "hX-A|1|", "hX-B| 2|", "hX-C|3|", "i||||X-D|4|", "m|||\1X-E|5|", "m|||\1X-F||", "c"),
        mta.say(EOM));
  }
}
