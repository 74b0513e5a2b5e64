package temse.protocol;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import clojure.lang.IPersistentMap;
import clojure.lang.PersistentArrayMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalInt;
import java.util.Set;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.function.Executable;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.MethodSource;
import temse.protocol.MilterException.Category;

/** Events and actions as Java has them. */
class ViewsTest {
  private static final byte[] BYTES = {1, 2};

  private static Event decoded(Event event) {
    return Event.of(EventCodec.decode(EventCodec.encode(event.map())));
  }

  @Test
  void anEventHasTheValuesThatItWasMadeOf() {
    Event.Connect connect =
        (Event.Connect)
            decoded(new Event.Connect("client.example.org", AddressFamily.INET, 25, "192.0.2.1"));
    assertEquals(EventType.CONNECT, connect.type());
    assertEquals("client.example.org", connect.hostName());
    assertEquals(AddressFamily.INET, connect.family());
    assertEquals(OptionalInt.of(25), connect.port());
    assertEquals(Optional.of("192.0.2.1"), connect.address());

    Event.Mail mail = new Event.Mail("<a@example.org>", "SIZE=1");
    assertEquals("<a@example.org>", mail.sender());
    assertEquals(List.of("SIZE=1"), mail.parameters());
    Event.Recipient recipient = new Event.Recipient("<b@example.com>");
    assertEquals("<b@example.com>", recipient.address());
    assertEquals(List.of(), recipient.parameters());

    Event.Header header = new Event.Header("Subject", "hi", 2);
    assertEquals(
        List.of("Subject", "hi", 2), List.of(header.name(), header.value(), header.index()));
    assertArrayEquals(BYTES, new Event.Body(BYTES).data());
    assertEquals("x", new Event.Unknown("x").command());
    assertEquals("h", new Event.Hello("h").greeting());
    assertEquals(EventType.BODY, new Event.Abort(EventType.BODY).at());
    assertEquals(
        DisconnectReason.STOPPING, new Event.Disconnect(DisconnectReason.STOPPING).reason());
    Event.MessageEnd end = new Event.MessageEnd(MessageEndReason.LOST, EventType.MAIL);
    assertEquals(MessageEndReason.LOST, end.reason());
    assertEquals(EventType.MAIL, end.at());
  }

  @Test
  void whatAnMtaSaysOfItselfIsTyped() {
    Event.Options offer = (Event.Options) Event.of(new Offer(6, 1, 1).event());
    assertEquals(6, offer.version());
    assertEquals(Set.of(ActionFlag.ADD_HEADER), offer.actions());
    assertEquals(Set.of(ProtocolFlag.NO_CONNECT), offer.protocol());

    IPersistentMap map =
        EventCodec.event(
            EventType.DEFINE_MACRO,
            Keys.STAGE,
            EventType.MAIL.keyword,
            Keys.COMMAND,
            'M',
            Keys.DEFINITIONS,
            PersistentArrayMap.create(Map.of("i", "4F")));
    Event.DefineMacro macros = (Event.DefineMacro) Event.of(map);
    assertEquals(Optional.of(EventType.MAIL), macros.stage());
    assertEquals(Map.of("i", "4F"), macros.definitions());
  }

  @Test
  void aClientOfUnknownFamilyHasNoAddressAndNoPort() {
    Event.Connect connect = (Event.Connect) decoded(new Event.Connect("localhost"));
    assertEquals(AddressFamily.UNKNOWN, connect.family());
    assertEquals(OptionalInt.empty(), connect.port());
    assertEquals(Optional.empty(), connect.address());
  }

  @ParameterizedTest
  @EnumSource(EventType.class)
  void eachTypeOfEventHasAClass(EventType type) {
    assertEquals(type, Event.type(Event.view(type, PersistentArrayMap.EMPTY).getClass()));
  }

  @Test
  void noClassHasAllEvents() {
    assertThrows(IllegalArgumentException.class, () -> Event.type(Event.class));
  }

  static Stream<Executable> wrongEvents() {
    return Stream.of(
        () -> new Event.Hello(null),
        () -> new Event.Hello("a\0b"),
        () -> new Event.Connect("a", AddressFamily.INET, 70_000, "192.0.2.1"),
        () -> new Event.Connect("a", AddressFamily.INET, 25, null),
        () -> new Event.Header("X", "y", -1),
        () -> new Event.Header("X", null, 1),
        () -> new Event.Body(null),
        () -> new Event.Mail("<a>", (String) null),
        () -> Event.of(Action.accept().map()),
        () -> Event.of(EventCodec.event(EventType.HEADER, Keys.NAME, "X", Keys.VALUE, "y")),
        () -> Event.of(EventCodec.event(EventType.ABORT)),
        () -> Event.of(EventCodec.event(EventType.MESSAGE_END, Keys.AT, EventType.MAIL.keyword)),
        () ->
            Event.of(
                EventCodec.event(
                    EventType.DISCONNECT, Keys.REASON, MessageEndReason.LOST.keyword)));
  }

  @ParameterizedTest
  @MethodSource("wrongEvents")
  void anEventIsCheckedWhereItIsMade(Executable wrong) {
    assertEquals(Category.BAD_ACTION, assertThrows(MilterException.class, wrong).category());
  }

  @Test
  void anActionHasTheValuesThatItWasMadeOf() {
    Action.Reply reply = Action.replyCode(550, "5.7.1", "No");
    assertEquals(OptionalInt.of(550), reply.smtpCode());
    assertEquals(Optional.of("5.7.1"), reply.enhancedCode());
    assertEquals(Optional.of("No"), reply.text());
    assertEquals(ActionType.REJECT, reply.verdict());
    assertEquals(OptionalInt.empty(), Action.accept().smtpCode());
    assertEquals(Optional.empty(), Action.accept().text());

    Action.AddHeader added = (Action.AddHeader) Action.insertHeader(3, "X", "y");
    assertEquals(List.of("X", "y"), List.of(added.name(), added.value()));
    assertEquals(OptionalInt.of(3), added.position());
    Action.ChangeHeader changed = (Action.ChangeHeader) Action.changeHeader("X", 2, "z");
    assertEquals(List.of("X", 2), List.of(changed.name(), changed.index()));
    assertEquals(Optional.of("z"), changed.value());
    assertEquals(Optional.empty(), ((Action.ChangeHeader) Action.deleteHeader("X", 1)).value());
    assertEquals("b", ((Action.ChangeBody) Action.changeBody("b")).body());
    assertEquals("held", ((Action.Quarantine) Action.quarantine("held")).reason());
    Action.ChangeEnvelope sender =
        (Action.ChangeEnvelope) Action.changeSender("<a>", "SIZE=1", "BODY=7BIT");
    assertEquals(ActionType.CHANGE_SENDER, sender.type());
    assertEquals("<a>", sender.address());
    assertEquals(List.of("SIZE=1", "BODY=7BIT"), sender.parameters());
  }

  static Stream<Executable> wrongActions() {
    return Stream.of(
        () -> Action.replyCode(250, null, "fine"),
        () -> Action.replyCode(550, "4.7.1", "other class"),
        () -> Action.addHeader(null, "x"),
        () -> Action.addHeader("X Y", "x"),
        () -> Action.addHeader("X", null),
        () -> Action.insertHeader(-1, "X", "x"),
        () -> Action.changeHeader("X", -1, "x"),
        () -> Action.changeBody(7),
        () -> Action.addRecipient(""),
        () -> Action.changeSender("<a>", (String) null),
        () -> Action.quarantine(null));
  }

  @ParameterizedTest
  @MethodSource("wrongActions")
  void anActionIsCheckedWhereItIsMadeAndTheErrorSpeaksJava(Executable wrong) {
    MilterException e = assertThrows(MilterException.class, wrong);
    assertEquals(Category.BAD_ACTION, e.category());
    assertFalse(e.getMessage().matches(".*(?<!\\w):[a-z].*"), e.getMessage());
    assertTrue(e.getData().containsKey(Keys.PROBLEM));
  }

  @Test
  void anErrorInJavaKeepsWhatStandsInQuotes() {
    assertEquals(
        "addHeader of \"a:b-c\": name must hold no space, it is \":no-name \\\" :x\", not 12:30",
        new MilterException(
                Category.BAD_ACTION,
                ":add-header of \"a:b-c\": :name must hold no space, it is \":no-name \\\" :x\","
                    + " not 12:30")
            .inJava()
            .getMessage());
  }

  @Test
  void viewsAreEqualIfTheirMapsAreAndSayWhatTheyHold() {
    assertEquals(Action.addHeader("X", "y"), Action.of(Actions.addHeader("X", "y")));
    assertEquals(
        Action.addHeader("X", "y").hashCode(), Action.of(Actions.addHeader("X", "y")).hashCode());
    assertNotEquals(Action.addHeader("X", "y"), Action.addHeader("X", "z"));
    assertEquals(
        "mail sender=<a@example.org> options=[SIZE=1]",
        new Event.Mail("<a@example.org>", "SIZE=1").toString());
    assertEquals("body data=2 bytes", new Event.Body(BYTES).toString());
    assertEquals("add-header name=X value=y", Action.addHeader("X", "y").toString());
  }
}
