package temse.server.internal;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNull;
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
import static temse.server.internal.DrivenEngine.offer;

import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;
import temse.protocol.ActionFlag;
import temse.protocol.Actions;
import temse.protocol.EventType;
import temse.protocol.Keys;
import temse.protocol.ProtocolFlag;
import temse.transport.internal.Conversation.Wish;

/** MTAs that are old, small, large or strange, and all that legal input may look like. */
class OldAndOddPeersTest {
  private final ScriptedHandler handler =
      ScriptedHandler.hearingAll()
          .asking(
              wishes ->
                  wishes
                      .optionalEvents(List.of(EventType.DATA, EventType.UNKNOWN))
                      .optionalActions(List.of(ActionFlag.ADD_HEADER)));

  private List<String> hears(String... packets) {
    DrivenEngine mta = DrivenEngine.negotiated(handler);
    mta.say(packets);
    assertEquals(Wish.READ, mta.wish(), () -> "it was taken ill: " + mta.reports());
    return handler.heard();
  }

  // Versions and bits

  @ParameterizedTest(name = "version {0}, actions {1}, protocol {2}")
  @CsvSource({
    "2, 0x00F, 0x03F",
    "2, 0x03F, 0x07F",
    "2, 0x1FF, 0x07F",
    "2, 0x1FF, 0x0FF",
    "3, 0x1FF, 0x17F",
    "4, 0x1FF, 0x37F",
    "5, 0x1FF, 0x37F",
    "6, 0x1FF, 0x1FFFFF"
  })
  void everyVersionIsServed(int version, String actions, String protocol) {
    handler.answering(EventType.END_OF_MESSAGE, Actions.addHeader("X", "1"));
    DrivenEngine mta = new DrivenEngine(handler);
    int offeredActions = Integer.decode(actions);
    int offeredProtocol = Integer.decode(protocol);
    mta.say(offer(version, offeredActions, offeredProtocol));
    assertEquals(version, handler.connection().agreement().version());

    List<String> said = new ArrayList<>(List.of(CONNECT, HELO));
    if (version >= 3) {
      said.add("UFOO|");
    }
    said.addAll(List.of(MAIL, RCPT));
    if (version >= 4) {
      said.add(DATA);
    }
    said.addAll(List.of(HEADER, EOH, BODY));
    for (int message = 1; message <= 2; message++) {
      for (String packet : said) {
        assertEquals(List.of("c"), mta.say(packet), packet);
      }
      assertEquals(List.of("hX|1|", "c"), mta.say(EOM));
      said.removeAll(List.of(CONNECT, HELO));
    }
    assertEquals(List.of(), mta.say(QUIT));
    assertTrue(mta.isClosed());
    assertEquals(List.of("closed"), mta.reports());
    assertEquals(2, handler.heard().stream().filter("end-of-message"::equals).count());
  }

  @Test
  void whicheverOneBitIsOfferedEachCommandGetsTheAnswersItIsDue() {
    for (int bit = 0; bit <= 20; bit++) {
      ScriptedHandler modest =
          ScriptedHandler.hearing(EventType.RECIPIENT, EventType.END_OF_MESSAGE);
      DrivenEngine mta = new DrivenEngine(modest);
      assertEquals(1, mta.say(offer(6, 0, 1 << bit)).size());
      int agreed = modest.connection().agreement().protocolMask();
      assertEquals(0, agreed & ~(1 << bit));
      for (String packet :
          List.of(CONNECT, HELO, "UFOO|", MAIL, RCPT, DATA, HEADER, EOH, BODY, EOM)) {
        EventType type = EventType.ofCode((byte) packet.charAt(0));
        boolean silent = type.noReplyBy != null && (agreed & type.noReplyBy.mask) != 0;
        assertEquals(silent ? List.of() : List.of("c"), mta.say(packet), packet + " " + bit);
      }
      assertEquals(
          List.of("negotiated", "recipient <b@example.com>", "end-of-message", "end of message"),
          modest.heard());
    }
  }

  @Test
  void whicheverOneBitIsMissingEachCommandGetsTheAnswersItIsDue() {
    for (int bit = 0; bit <= 20; bit++) {
      ScriptedHandler watcher =
          ScriptedHandler.hearing(EventType.HEADER, EventType.BODY, EventType.END_OF_MESSAGE)
              .asking(wishes -> wishes.noReplyEvents(List.of(EventType.HEADER, EventType.BODY)));
      DrivenEngine mta = new DrivenEngine(watcher);
      mta.say(offer(6, ActionFlag.ALL, ProtocolFlag.ALL & ~(1 << bit)));
      int agreed = watcher.connection().agreement().protocolMask();
      for (String packet : List.of(CONNECT, HELO, MAIL, RCPT, DATA, HEADER, EOH, BODY, EOM)) {
        EventType type = EventType.ofCode((byte) packet.charAt(0));
        if (type.suppressedBy != null && (agreed & type.suppressedBy.mask) != 0) {
          continue;
        }
        boolean silent = type.noReplyBy != null && (agreed & type.noReplyBy.mask) != 0;
        assertEquals(silent ? List.of() : List.of("c"), mta.say(packet), packet + " " + bit);
      }
      assertEquals(
          List.of(
              "negotiated",
              "header Subject#1=hi",
              "body text\r\n",
              "end-of-message",
              "end of message"),
          watcher.heard());
    }
  }

  // Macros

  @Test
  void anMtaWithoutMacrosIsServedAndHasNone() {
    DrivenEngine mta = DrivenEngine.negotiated(handler);
    mta.say(CONNECT, HELO, MAIL, RCPT, DATA, HEADER, EOH, BODY);
    assertEquals(8, handler.heard().size());
    for (String name : List.of("i", "j", "{client_addr}", "_")) {
      assertNull(mta.engine.connection().macros().get(name));
    }
  }

  @Test
  @Tag("F13")
  void macrosOfUnknownStagesDisturbNothing() {
    DrivenEngine mta = DrivenEngine.negotiated(handler);
    mta.say("D\u00ffx|y|", "DCj|mx|", CONNECT, "DU", "UFOO|", "DMi|1|", MAIL, RCPT, "DLi|2|");
    mta.say(HEADER, "DZ{odd}|", EOH, "DBi|3|", BODY);
    List<String> heard = handler.heard();
    assertEquals("body text\r\n", heard.get(heard.size() - 1));
    assertEquals("1", mta.engine.connection().macros().get("i"));
    assertEquals("mx", mta.engine.connection().macros().get("j"));
  }

  // Addresses

  @ParameterizedTest
  @Tag("F20")
  @CsvSource({
    "M|, ''",
    "M<>|, <>",
    "M<a@example.org>|, <a@example.org>",
    "Ma@example.org|, a@example.org",
    "M<a@example.org>|SIZE=1|BODY=8BITMIME|, <a@example.org>",
    "M<>|SIZE=1|, <>",
    "M|SIZE=1|, ''",
  })
  void sendersComeAsTheyAre(String packet, String sender) {
    assertEquals(List.of("mail " + sender), hears(packet));
  }

  @ParameterizedTest
  @CsvSource({
    "R<b@example.com>|, <b@example.com>",
    "Rb@example.com|, b@example.com",
    "R<\"b c\"@example.com>|NOTIFY=NEVER|, <\"b c\"@example.com>",
    "Rpostmaster|, postmaster",
  })
  void recipientsComeAsTheyAre(String packet, String address) {
    assertEquals("recipient " + address, hears(MAIL, packet).get(1));
  }

  @Test
  void anAddressWithoutItsEndIsMalformed() {
    DrivenEngine mta = DrivenEngine.negotiated(handler);
    assertEquals(List.of(), mta.say("M"));
    assertTrue(mta.isClosed());
  }

  // SMTP clients

  @ParameterizedTest
  @Tag("F18")
  @CsvSource({
    "Clocalhost|U, localhost",
    "Clocalhost|U|, localhost",
    "Clocalhost|U\u0000\u0000|, localhost",
    "Cunknown|Ujunk, unknown",
  })
  void aClientOfUnknownFamilyMayHaveTrailingBytes(String packet, String host) {
    assertEquals(List.of("connect " + host), hears(packet));
  }

  @ParameterizedTest
  @Tag("F18")
  @Tag("F19")
  @CsvSource({
    "C[2001:db8::1]|6\u0000\u0019IPv6:2001:db8::1|, connect [2001:db8::1] 2001:db8::1",
    "C[2001:db8::1]|6\u0000\u0019ipv6:2001:db8::1|, connect [2001:db8::1] 2001:db8::1",
    "C[2001:db8::1]|6\u0000\u00192001:db8::1|, connect [2001:db8::1] 2001:db8::1",
    "C[IPv6:::1]|6\u0000\u0000IPv6:::1|, connect [IPv6:::1] ::1",
    "Clocalhost|4\u0000\u0000127.0.0.1|, connect localhost 127.0.0.1",
    "Cx|4\u00ff\u00ffno address|, connect x no address",
  })
  void clientsOfTheInternetComeWithTheirAddress(String packet, String heard) {
    assertEquals(List.of(heard), hears(packet));
  }

  @ParameterizedTest
  @Tag("F18")
  @ValueSource(strings = {"/run/client.sock", ""})
  void clientsOfAUnixSocketComeWithTheirPath(String path) {
    assertEquals(List.of("connect localhost " + path), hears("Clocalhost|L\0\0" + path + "|"));
  }

  @ParameterizedTest
  @ValueSource(
      strings = {"Chost", "Chost|", "Chost|4", "Chost|4\0\0", "Chost|4\0\031.2.3.4", "Chost|X|"})
  void aClientThatIsCutOffOrOfNoFamilyClosesTheConnection(String packet) {
    DrivenEngine mta = DrivenEngine.negotiated(handler);
    assertEquals(List.of(), mta.say(packet));
    assertTrue(mta.isClosed());
    assertEquals(List.of("violated MALFORMED_PACKET", "closed MALFORMED_PACKET"), mta.reports());
  }

  // Sizes

  @ParameterizedTest
  @ValueSource(ints = {65535, 102400, 1048576})
  void headersOfAnySizeAreHeard(int size) {
    String value = "x".repeat(size);
    assertEquals("header Large#1=" + value, hears(MAIL, RCPT, "LLarge|" + value + "|").get(2));
  }

  @ParameterizedTest
  @Tag("W6")
  @ValueSource(ints = {0, 65535, 65536, 262143, 1048575, 1048576})
  void piecesOfABodyOfAnySizeAreHeard(int size) {
    assertEquals("body " + "x".repeat(size), hears(MAIL, RCPT, EOH, "B" + "x".repeat(size)).get(3));
  }

  @ParameterizedTest
  @Tag("F11")
  @CsvSource({
    "0x00000000, 0x00000000, 65535",
    "0x10000000, 0x10000000, 262143",
    "0x20000000, 0x20000000, 1048575",
    "0x30000000, 0x20000000, 1048575",
    "0x40000000, 0x00000000, 65535",
    "0x80000000, 0x00000000, 65535",
  })
  void theLargestPayloadIsAgreedAndKeptTo(String offered, String agreed, int limit) {
    DrivenEngine mta = new DrivenEngine(handler);
    int sizes = Long.decode(offered).intValue();
    String answer = mta.say(offer(6, ActionFlag.ALL, ProtocolFlag.ALL | sizes)).get(0);
    assertEquals(Long.decode(agreed) >>> 24, answer.replace('|', '\0').charAt(9));

    String longest = "x".repeat(limit - 3);
    handler.answering(EventType.END_OF_MESSAGE, Actions.addHeader("A", longest));
    mta.say(MAIL, RCPT);
    assertEquals(List.of("hA|" + longest + "|", "c"), mta.say(EOM));

    handler.answering(EventType.END_OF_MESSAGE, Actions.addHeader("A", longest + "x"));
    mta.say(MAIL, RCPT);
    assertEquals(List.of("t"), mta.say(EOM));
    assertEquals(List.of("failed END_OF_MESSAGE BAD_ACTION"), mta.reports());
  }

  @Test
  @Tag("W11")
  void aNewBodyTravelsInTheUsualPiecesWhateverSizeWasAgreed() {
    handler
        .asking(wishes -> wishes.optionalActions(List.of(ActionFlag.CHANGE_BODY)))
        .answering(EventType.END_OF_MESSAGE, Actions.changeBody(new byte[200_000]));
    DrivenEngine mta = new DrivenEngine(handler);
    mta.say(offer(6, ActionFlag.ALL, ProtocolFlag.ALL | ProtocolFlag.PAYLOAD_1M.mask), MAIL, RCPT);
    List<Integer> sizes = mta.say(EOM).stream().map(String::length).toList();
    assertEquals(List.of(65536, 65536, 65536, 200_000 - 3 * 65535 + 1, 1), sizes);
  }

  // More than one client per connection

  @Test
  @Tag("F31")
  void oneConnectionServesClientAfterClient() {
    DrivenEngine mta = DrivenEngine.negotiated(handler);
    for (int client = 1; client <= 3; client++) {
      String host = "host" + client + ".example.org";
      assertEquals(
          List.of("c", "c", "c", "c"),
          mta.say("DCj|" + client + "|", "C" + host + "|U", HELO, "DMi|1|", MAIL, RCPT));
      assertEquals("" + client, mta.engine.connection().macros().get("j"));
      mta.say(DATA, HEADER, EOH, EOM, QUIT_NC);
      List<String> heard = handler.heard();
      assertEquals("connect " + host, heard.get(0));
      assertEquals("end of client", heard.get(heard.size() - 1));
      assertNull(mta.engine.connection().macros().get("j"));
      assertFalse(mta.isClosed());
    }
    mta.say(QUIT);
    assertTrue(mta.isClosed());
  }

  @Test
  void aClientThatGoesWithinItsMessageDoesNotDisturbTheNext() {
    DrivenEngine mta = DrivenEngine.negotiated(handler);
    mta.say(CONNECT, HELO, MAIL, RCPT, HEADER, QUIT_NC);
    List<String> heard = handler.heard();
    assertEquals(1, heard.stream().filter("message-end aborted"::equals).count(), heard::toString);
    assertEquals(List.of("c", "c", "c", "c"), mta.say(CONNECT, MAIL, RCPT, HEADER, ABORT, ABORT));
    assertTrue(handler.heard().contains("header Subject#1=hi"));
  }

  @Test
  void textThatIsNoUtf8ComesAndGoesByteForByte() {
    byte[] bytes = new byte[255];
    for (int i = 0; i < 255; i++) {
      bytes[i] = (byte) (i + 1);
    }
    String octets =
        new String(bytes, StandardCharsets.ISO_8859_1)
            .replace('|', '!')
            .replace('\r', '!')
            .replace("\n", "\n ");
    handler.on(
        EventType.HEADER,
        (event, connection) -> {
          handler.answering(
              EventType.END_OF_MESSAGE, Actions.addHeader("X", (String) event.valAt(Keys.VALUE)));
          return null;
        });
    DrivenEngine mta = DrivenEngine.negotiated(handler);
    mta.say(MAIL, RCPT, "LX|" + octets + "|");
    assertEquals(List.of("hX|" + octets + "|", "c"), mta.say(EOM));
  }
}
