package temse.server.internal;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertSame;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static temse.server.internal.DrivenEngine.ABORT;
import static temse.server.internal.DrivenEngine.BODY;
import static temse.server.internal.DrivenEngine.CONNECT;
import static temse.server.internal.DrivenEngine.DATA;
import static temse.server.internal.DrivenEngine.EOH;
import static temse.server.internal.DrivenEngine.EOM;
import static temse.server.internal.DrivenEngine.HEADER;
import static temse.server.internal.DrivenEngine.HELO;
import static temse.server.internal.DrivenEngine.MAIL;
import static temse.server.internal.DrivenEngine.QUIT;
import static temse.server.internal.DrivenEngine.QUIT_NC;
import static temse.server.internal.DrivenEngine.RCPT;

import clojure.lang.IPersistentMap;
import clojure.lang.Keyword;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collection;
import java.util.EnumSet;
import java.util.List;
import java.util.Set;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;
import org.junit.jupiter.params.provider.ValueSource;
import temse.protocol.Action;
import temse.protocol.Actions;
import temse.protocol.Agreement;
import temse.protocol.DisconnectReason;
import temse.protocol.EventCodec;
import temse.protocol.EventType;
import temse.protocol.Keys;
import temse.protocol.MilterException;
import temse.protocol.Negotiation;
import temse.protocol.Offer;
import temse.protocol.Packet;
import temse.protocol.Request;
import temse.server.ConnectionInfo;
import temse.server.EngineOptions;
import temse.server.internal.Entry.Way;

/** The ledger alone: packets in, entries out; replies in, consequences out. */
class LedgerTest {
  private static final String UNKNOWN = "Ufoo|";
  private static final List<String> MESSAGE = List.of(MAIL, RCPT, DATA, HEADER, EOH, BODY, EOM);

  private Ledger ledger = new Ledger(EngineOptions.DEFAULTS);
  private Agreement agreement;
  private Collecting collector;

  /** Keeps events of some types. */
  private record Collecting(Set<EventType> types) implements EventCollector {
    @Override
    public boolean collects(EventType type) {
      return types.contains(type);
    }

    @Override
    public void collect(ConnectionInfo connection, EventType type, IPersistentMap event) {}

    @Override
    public void collectField(ConnectionInfo connection, String name, String value) {}
  }

  private static Packet packet(String text) {
    byte[] bytes = text.substring(1).replace('|', '\0').getBytes(StandardCharsets.ISO_8859_1);
    return new Packet((byte) text.charAt(0), bytes);
  }

  private void agree(boolean observed, Collection<EventType> events, EventType... watched) {
    agree(EngineOptions.DEFAULTS, observed, events, watched);
  }

  private void agree(
      EngineOptions options, boolean observed, Collection<EventType> events, EventType... watched) {
    ledger = new Ledger(options);
    Packet offer = packet(DrivenEngine.OFFER);
    ledger.packet(offer);
    assertEquals(Way.CALL, ledger.next().way());
    ledger.begin();
    ledger.negotiating();
    Request request =
        Request.builder().events(events).noReplyEvents(Arrays.asList(watched)).build();
    agreement = Negotiation.agree(Offer.of(EventCodec.decode(offer)), request, 1 << 20);
    ledger.agreed(agreement, collector);
    ledger.observed(observed);
  }

  private void agreeOnAll() {
    agree(false, ScriptedHandler.ALL);
  }

  /** Takes the packet and settles all that is due for it by the reply; an entry per line. */
  private List<String> say(String text, IPersistentMap... reply) {
    ledger.packet(packet(text));
    return settle(reply.length == 0 ? Actions.proceed() : reply[0]);
  }

  private void replied(EventType type, IPersistentMap reply) {
    Action.Reply view = (Action.Reply) Action.view(reply);
    ledger.replied(type, view, view.verdict());
  }

  private List<String> settle(IPersistentMap reply) {
    List<String> lines = new ArrayList<>();
    for (Entry entry = ledger.next(); entry != null; entry = ledger.next()) {
      lines.add(line(entry));
      ledger.begin();
      if (entry.way() == Way.REPEAT || entry.way() == Way.CALL_BEFORE_END) {
        continue;
      }
      if (agreement.owesReply(entry.type())) {
        replied(entry.answered(), entry.reply() != null ? entry.reply().map() : reply);
      } else {
        ledger.endedWithoutReply(entry.type());
      }
    }
    return lines;
  }

  private static String line(Entry entry) {
    StringBuilder line = new StringBuilder();
    if (entry.way() != Way.CALL) {
      line.append(entry.way()).append(' ');
    }
    line.append(entry.type().keyword.getName());
    for (Keyword key : List.of(Keys.REASON, Keys.AT, Keys.INDEX)) {
      Object value = entry.event() == null ? null : entry.event().valAt(key);
      if (value != null) {
        line.append(' ').append(value instanceof Keyword name ? name.getName() : value);
      }
    }
    if (entry.way() == Way.REPEAT) {
      line.append(' ').append(entry.reply().type().keyword.getName());
    }
    return line.toString();
  }

  @Test
  void whatIsCollectedAndOwesNoReplyIsKeptInPassing() {
    collector = new Collecting(EnumSet.of(EventType.HEADER, EventType.BODY));
    agree(false, ScriptedHandler.ALL, EventType.HEADER, EventType.DATA);
    say(CONNECT);
    assertEquals(
        List.of("mail", "recipient", "data", "COLLECT header", "end-of-headers", "body"),
        MESSAGE.subList(0, 6).stream().flatMap(text -> say(text).stream()).toList());
  }

  @Test
  void whatIsObservedIsDecodedWithAllThatBelongsToIt() {
    collector = new Collecting(EnumSet.of(EventType.HEADER));
    agree(true, ScriptedHandler.ALL, EventType.HEADER);
    say(CONNECT);
    say(MAIL);
    assertEquals(List.of("COLLECT header 1"), say(HEADER));
  }

  @Test
  void aFieldThatIsCollectedUnobservedHasAMapWhenItIsAskedFor() {
    collector = new Collecting(EnumSet.of(EventType.HEADER));
    agree(false, ScriptedHandler.ALL, EventType.HEADER);
    say(CONNECT);
    say(MAIL);
    ledger.packet(packet("LSubject|hello|"));
    assertEquals(new EventCodec.Field("Subject", "hello"), ledger.next().field());
    assertEquals(EventCodec.decode(packet("LSubject|hello|")), ledger.next().event());
    assertEquals(ledger.next().event(), ledger.next().decoded());
  }

  @Test
  void aFieldThatIsCollectedAndMalformedIsRefused() {
    collector = new Collecting(EnumSet.of(EventType.HEADER));
    agree(false, ScriptedHandler.ALL, EventType.HEADER);
    say(CONNECT);
    say(MAIL);
    assertEquals(MilterException.Category.MALFORMED_PACKET, refused(() -> say("LSubject|no end")));
    assertNull(ledger.next());
  }

  @Test
  void headerFieldsAreNumberedFromTheFirstOfAMessageOnOrNotAtAll() {
    collector = new Collecting(EnumSet.of(EventType.HEADER));
    agree(false, ScriptedHandler.ALL, EventType.HEADER);
    say(CONNECT);
    say(MAIL);
    say(HEADER);
    ledger.observed(true);
    assertEquals(List.of("COLLECT header"), say(HEADER));
    say(ABORT);
    say(MAIL);
    assertEquals(List.of("COLLECT header 1"), say(HEADER));
    ledger.observed(false);
    assertEquals(List.of("COLLECT header 2"), say(HEADER));
  }

  @Test
  void whatIsCollectedIsDecidedWhenAMessageBegins() {
    Set<EventType> types = EnumSet.of(EventType.HEADER);
    collector = new Collecting(types);
    agree(false, ScriptedHandler.ALL, EventType.HEADER);
    say(CONNECT);
    say(MAIL);
    types.clear();
    assertEquals(List.of("COLLECT header"), say(HEADER));
    say(ABORT);
    say(MAIL);
    types.add(EventType.HEADER);
    assertEquals(List.of("header 1"), say(HEADER));
  }

  @Test
  void headerFieldsThatAreKeptInPassingAreCounted() {
    collector = new Collecting(EnumSet.of(EventType.HEADER));
    agree(
        EngineOptions.builder().maximumHeaderFields(1).build(),
        false,
        ScriptedHandler.ALL,
        EventType.HEADER);
    say(CONNECT);
    say(MAIL);
    assertEquals(List.of("COLLECT header"), say(HEADER));
    assertEquals(List.of("EXCEED header"), say(HEADER));
  }

  private static MilterException.Category refused(Runnable work) {
    return assertThrows(MilterException.class, work::run).category();
  }

  // ---- order

  static List<List<EventType>> whoeverHears() {
    return List.of(
        List.copyOf(ScriptedHandler.ALL),
        List.of(EventType.END_OF_MESSAGE),
        List.of(EventType.QUIT),
        List.of(EventType.MESSAGE_END, EventType.QUIT),
        List.of(EventType.ABORT, EventType.DISCONNECT),
        List.of(EventType.DISCONNECT));
  }

  @ParameterizedTest
  @MethodSource("whoeverHears")
  void whatEndsAMessageComesAfterItsEndWhoeverHearsOfIt(List<EventType> heard) {
    for (boolean observed : List.of(false, true)) {
      List<String> ends = List.of("abort", "message-end");
      assertEquals(
          List.of("abort", "message-end", "quit", "disconnect"), types(observed, heard, QUIT));
      assertEquals(List.of("abort", "message-end", "disconnect"), types(observed, heard, QUIT_NC));
      assertEquals(List.of("abort", "message-end", "mail"), types(observed, heard, MAIL));
      assertEquals(List.of("abort", "message-end", "hello"), types(observed, heard, HELO));
      assertEquals(ends, types(observed, heard, ABORT));
    }
  }

  private List<String> types(boolean observed, List<EventType> heard, String packet) {
    agree(observed, heard);
    say(CONNECT);
    say(MAIL);
    say(RCPT);
    return say(packet).stream().map(line -> line.replace("DEFAULT ", "").split(" ")[0]).toList();
  }

  @Test
  void theEndsNameWhatTheMessageHadReached() {
    List<String> reached = List.of("mail", "recipient", "data", "header", "end-of-headers", "body");
    for (int length = 1; length <= reached.size(); length++) {
      agreeOnAll();
      MESSAGE.subList(0, length).forEach(this::say);
      String at = reached.get(length - 1);
      assertEquals(List.of("abort " + at, "message-end aborted " + at), say(ABORT));
      assertEquals(List.of(), say(ABORT), "an abort outside a message is nothing");
    }
  }

  @Test
  void eachVerdictNamesTheEventThatItAnsweredAndHowTheMessageEnded() {
    agreeOnAll();
    assertEquals(List.of("mail", "message-end rejected mail"), say(MAIL, Actions.reject()));
    say(MAIL);
    assertEquals(
        List.of("recipient", "message-end accepted recipient"), say(RCPT, Actions.accept()));
    say(MAIL);
    assertEquals(List.of("recipient"), say(RCPT, Actions.reject()), "only the recipient");
    assertEquals(List.of("data", "message-end discarded data"), say(DATA, Actions.discard()));
    say(MAIL);
    assertEquals(
        List.of("end-of-message", "message-end deferred end-of-message"),
        say(EOM, Actions.replyCode(451, null, "later")));
  }

  @Test
  void anUnknownCommandReachesNothing() {
    agreeOnAll();
    say(MAIL);
    say(UNKNOWN);
    assertEquals(List.of("abort mail", "message-end aborted mail"), say(ABORT));
  }

  // ---- skips and repeats

  @ParameterizedTest
  @ValueSource(strings = {RCPT, HEADER, BODY})
  void whatIsSkippedGoesOnUntilTheNextMessage(String packet) {
    agreeOnAll();
    say(MAIL);
    say(packet, Actions.skip());
    EventType type = EventType.ofCode((byte) packet.charAt(0));
    assertEquals(List.of("DEFAULT " + type.keyword.getName()), say(packet));
    say(ABORT);
    say(MAIL);
    assertTrue(say(packet).get(0).startsWith(type.keyword.getName()));
  }

  @Test
  void aSettledMessageIsRepeatedUntilTheNextAndNothingOfItIsReached() {
    agreeOnAll();
    say(MAIL);
    say(RCPT, Actions.discard());
    assertEquals(List.of("REPEAT data discard"), say(DATA));
    assertEquals(List.of("unknown"), say(UNKNOWN));
    assertEquals(List.of("REPEAT end-of-message discard"), say(EOM));
    assertEquals(List.of(), say(ABORT));
    assertEquals(List.of("mail"), say(MAIL));
  }

  @Test
  void aSettledClientIsRepeatedUntilItIsGone() {
    agreeOnAll();
    say(CONNECT, Actions.reject());
    assertEquals(List.of("REPEAT hello reject"), say(HELO));
    assertEquals(List.of("REPEAT mail reject"), say(MAIL));
    assertEquals(List.of("REPEAT unknown continue"), say(UNKNOWN));
    assertFalse(ledger.inMessage());
    assertEquals(List.of("disconnect new-connection"), say(QUIT_NC));
    assertEquals(List.of("connect"), say(CONNECT));
  }

  // ---- the last piece of a body

  @Test
  void theLastPieceOfABodyComesBeforeTheEndThatCarriesIt() {
    agreeOnAll();
    say(MAIL);
    assertEquals(
        List.of("CALL_BEFORE_END body", "end-of-message", "message-end accepted end-of-message"),
        say("Elast"));
  }

  @Test
  void theLastPieceAnswersTheEndAlone() {
    agreeOnAll();
    say(MAIL);
    ledger.packet(packet("Elast"));
    Entry body = ledger.next();
    ledger.begin();
    assertEquals(EventType.END_OF_MESSAGE, body.answered());
    ledger.dropEnd();
    replied(body.answered(), Actions.reject());
    assertEquals(List.of("message-end rejected end-of-message"), settle(Actions.proceed()));
  }

  @Test
  void theLastPieceIsLeftOutIfNobodyWantsIt() {
    agree(false, List.of(EventType.END_OF_MESSAGE));
    say(MAIL);
    assertEquals("end-of-message", say("Elast").get(0));

    agreeOnAll();
    say(MAIL);
    say(BODY, Actions.skip());
    assertEquals("end-of-message", say("Elast").get(0));
  }

  // ---- macros

  @Test
  void manyMacrosOfAMessageDoNotOutlastItAndThoseOfTheClientDo() {
    agreeOnAll();
    say("DC{daemon}|mta|");
    say(CONNECT);
    for (String size : List.of("x", "x".repeat(5000))) {
      say("DM{auth}|" + size + "|");
      say(MAIL);
      say("DEi|queue|");
      say(EOM);
      assertEquals("mta", ledger.macros().get("daemon"));
      assertEquals(size.length() == 1 ? "queue" : null, ledger.macros().get("i"));
    }
  }

  @Test
  void macrosThatHoldTogetherHaveALimitAndReplacedOnesDoNotCount() {
    agree(EngineOptions.builder().maximumMacroBytes(100).build(), false, ScriptedHandler.ALL);
    for (int i = 0; i < 10; i++) {
      say("DC{daemon}|" + "x".repeat(60) + "|");
    }
    say(CONNECT);
    assertEquals(
        MilterException.Category.LIMIT_EXCEEDED,
        refused(() -> say("DM{auth}|" + "x".repeat(60) + "|")));
  }

  @Test
  void theClientsMacrosHoldUntilItsEndWasTold() {
    agreeOnAll();
    say("DC{daemon}|mta|");
    say(CONNECT);
    ledger.packet(packet(QUIT_NC));
    assertEquals("mta", ledger.macros().get("daemon"));
    settle(Actions.proceed());
    assertNull(ledger.macros().get("daemon"));
  }

  // ---- what a message holds

  @Test
  void headerFieldsAreCountedByNameAndAnewInEachMessage() {
    agreeOnAll();
    for (int message = 0; message < 2; message++) {
      say(MAIL);
      assertEquals(List.of("header 1"), say("LReceived|a|"));
      assertEquals(List.of("header 1"), say("LSubject|a|"));
      assertEquals(List.of("header 2"), say("LRECEIVED|a|"));
    }
  }

  @Test
  void headerFieldsBytesAndRecipientsHaveBounds() {
    EngineOptions few =
        EngineOptions.builder()
            .maximumHeaderFields(2)
            .maximumHeaderBytes(30)
            .maximumRecipients(1)
            .build();
    agree(few, false, ScriptedHandler.ALL);
    for (int message = 0; message < 2; message++) {
      say(MAIL);
      assertEquals(List.of("recipient"), say(RCPT));
      assertEquals(List.of("EXCEED recipient"), say(RCPT));
      say("LA|b|");
      say("LA|b|");
      assertEquals(List.of("EXCEED header"), say("LA|b|"));
      say(ABORT);
      say(MAIL);
      assertEquals(List.of("EXCEED header"), say("LA|" + "b".repeat(40) + "|"));
    }
  }

  @Test
  void whatNobodyHandlesHasNoBounds() {
    EngineOptions few = EngineOptions.builder().maximumHeaderFields(1).maximumRecipients(1).build();
    agree(few, true, List.of(EventType.END_OF_MESSAGE));
    say(MAIL);
    say(RCPT);
    assertEquals(List.of("DEFAULT recipient"), say(RCPT));
  }

  @Test
  void anEntryBeyondALimitHasItsEventAndOneThatIsMalformedIsRefusedAtOnce() {
    agree(EngineOptions.builder().maximumRecipients(1).build(), false, ScriptedHandler.ALL);
    say(MAIL);
    say(RCPT);
    ledger.packet(packet(RCPT));
    assertEquals("<b@example.com>", ledger.next().event().valAt(Keys.ADDRESS));
    settle(Actions.temporaryFailure());
    assertEquals(MilterException.Category.MALFORMED_PACKET, refused(() -> say("Rno end")));
  }

  // ---- faults

  private static final Throwable FAULT = new IllegalStateException("a fault");

  @Test
  void aFaultOfAMessageIsDecidedOnceWithinIt() {
    agree(false, ScriptedHandler.ALL, EventType.MAIL);
    say(MAIL);
    ledger.fault(EventType.MAIL, FAULT);
    for (EventType type : EnumSet.range(EventType.MAIL, EventType.END_OF_MESSAGE)) {
      assertSame(FAULT, ledger.fault(type));
    }
    for (EventType type : List.of(EventType.HELLO, EventType.UNKNOWN, EventType.ABORT)) {
      assertNull(ledger.fault(type), "it is none of " + type);
      ledger.decided(type);
    }
    ledger.decided(EventType.RECIPIENT);
    assertSame(FAULT, ledger.fault(EventType.DATA), "only a recipient was decided about");
    ledger.decided(EventType.DATA);
    assertNull(ledger.fault(EventType.HEADER));
  }

  @Test
  void aFaultOfAMessageEndsWithIt() {
    agree(false, ScriptedHandler.ALL, EventType.MAIL);
    say(MAIL);
    ledger.fault(EventType.MAIL, FAULT);
    say(MAIL);
    assertNull(ledger.fault(EventType.RECIPIENT));
  }

  @ParameterizedTest
  @ValueSource(strings = {"DEFINE_MACRO", "CONNECT", "HELLO", "UNKNOWN"})
  void aFaultOfAClientIsDecidedInEachOfItsMessagesAndAtItsHello(String type) {
    agreeOnAll();
    say(CONNECT);
    ledger.fault(EventType.valueOf(type), FAULT);
    for (int message = 0; message < 2; message++) {
      say(MAIL);
      assertSame(FAULT, ledger.fault(EventType.MAIL));
      ledger.decided(EventType.MAIL);
      assertNull(ledger.fault(EventType.RECIPIENT));
    }
    say(ABORT);
    assertSame(FAULT, ledger.fault(EventType.HELLO));
    ledger.decided(EventType.HELLO);
    say(MAIL);
    assertNull(ledger.fault(EventType.MAIL));
  }

  @Test
  void aFaultOfAClientEndsWithIt() {
    agreeOnAll();
    say(CONNECT);
    ledger.fault(EventType.CONNECT, FAULT);
    say(QUIT_NC);
    say(CONNECT);
    say(MAIL);
    assertNull(ledger.fault(EventType.MAIL));
  }

  @Test
  void aFaultOfTheClientInTheMidstOfADecidedMessageIsDecidedToo() {
    agreeOnAll();
    say(CONNECT);
    say(MAIL);
    ledger.decided(EventType.MAIL);
    ledger.fault(EventType.DEFINE_MACRO, FAULT);
    assertSame(FAULT, ledger.fault(EventType.RECIPIENT));
  }

  @Test
  void whatFailsAtAnEndIsNoFault() {
    agreeOnAll();
    say(MAIL);
    for (EventType type :
        List.of(EventType.ABORT, EventType.MESSAGE_END, EventType.DISCONNECT, EventType.QUIT)) {
      ledger.fault(type, FAULT);
    }
    assertNull(ledger.fault(EventType.END_OF_MESSAGE));
  }

  // ---- the end

  @Test
  void atTheEndWhatIsOpenEndsAndWhatWasNotBegunIsDropped() {
    agreeOnAll();
    say(CONNECT);
    say(MAIL);
    ledger.packet(packet(RCPT));
    ledger.ended(DisconnectReason.CONNECTION_LOST);
    assertEquals(
        List.of("abort mail", "message-end lost mail", "disconnect connection-lost"),
        settle(Actions.proceed()));
    assertTrue(ledger.isOver());
  }

  @Test
  void aMessageWhoseFirstEventWasNotBegunHasNoEnd() {
    agreeOnAll();
    say(CONNECT);
    ledger.packet(packet(MAIL));
    ledger.ended(DisconnectReason.STOPPING);
    assertEquals(List.of("disconnect stopping"), settle(Actions.proceed()));
  }

  @Test
  void announcementsThatWaitSurviveTheEnd() {
    agreeOnAll();
    say(MAIL);
    ledger.packet(packet(MAIL));
    ledger.ended(DisconnectReason.CONNECTION_LOST);
    assertEquals(
        List.of("abort mail", "message-end aborted mail", "disconnect connection-lost"),
        settle(Actions.proceed()));
  }
}
