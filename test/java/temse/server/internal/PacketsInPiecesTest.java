package temse.server.internal;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static temse.server.internal.DrivenEngine.BODY;
import static temse.server.internal.DrivenEngine.CONNECT;
import static temse.server.internal.DrivenEngine.DATA;
import static temse.server.internal.DrivenEngine.EOH;
import static temse.server.internal.DrivenEngine.EOM;
import static temse.server.internal.DrivenEngine.HEADER;
import static temse.server.internal.DrivenEngine.HELO;
import static temse.server.internal.DrivenEngine.MAIL;
import static temse.server.internal.DrivenEngine.OFFER;
import static temse.server.internal.DrivenEngine.QUIT;
import static temse.server.internal.DrivenEngine.RCPT;

import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;
import temse.server.EngineOptions;
import temse.transport.internal.Conversation.Wish;

class PacketsInPiecesTest {
  private static final String[] CONVERSATION = {
    OFFER, "DCj|mx|", CONNECT, HELO, MAIL, RCPT, DATA, HEADER, EOH, BODY, EOM
  };

  private static final List<String> HEARD =
      List.of(
          "negotiated",
          "connect client.example.org 192.0.2.1",
          "hello client.example.org",
          "mail <a@example.org>",
          "recipient <b@example.com>",
          "data",
          "header Subject#1=hi",
          "end-of-headers",
          "body text\r\n",
          "end-of-message",
          "message-end accepted",
          "end of message");

  private final ScriptedHandler handler = ScriptedHandler.hearingAll();
  private final DrivenEngine mta = new DrivenEngine(handler);

  @Test
  @Tag("W2")
  void packetsThatArriveByteByByteAreServed() {
    List<String> replies = new ArrayList<>();
    for (byte b : DrivenEngine.bytes(CONVERSATION)) {
      replies.addAll(mta.feed(new byte[] {b}));
    }

    assertEquals(HEARD, handler.heard());
    assertEquals(List.of("c", "c", "c", "c", "c", "c", "c", "c", "c"), replies.subList(1, 10));
    assertEquals(10, replies.size());
  }

  @Test
  @Tag("W3")
  void packetsThatArriveTogetherAreServedInOrder() {
    List<String> replies = mta.say(CONVERSATION);

    assertEquals(HEARD, handler.heard());
    assertEquals(10, replies.size());
  }

  @Test
  @Tag("W4")
  void aLengthOfZeroClosesWithoutAReply() {
    mta.say(OFFER);

    assertEquals(List.of(), mta.feed(new byte[4]));
    assertTrue(mta.isClosed());
    assertEquals(List.of("violated MALFORMED_PACKET", "closed MALFORMED_PACKET"), mta.reports());
  }

  @ParameterizedTest
  @Tag("W5")
  @ValueSource(ints = {1002, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF})
  void aLengthOverTheLimitClosesWithoutAReply(int length) {
    DrivenEngine limited =
        new DrivenEngine(handler, EngineOptions.builder().maximumPacketSize(1000).build());
    limited.say(OFFER);
    byte[] prefix = ByteBuffer.allocate(4).putInt(length).array();

    assertEquals(List.of(), limited.feed(prefix));
    assertTrue(limited.isClosed());
    assertEquals(
        List.of("violated PACKET_TOO_LARGE", "closed PACKET_TOO_LARGE"), limited.reports());
  }

  @Test
  @Tag("W5")
  void aPayloadAsLargeAsTheLimitIsServed() {
    DrivenEngine limited =
        new DrivenEngine(handler, EngineOptions.builder().maximumPacketSize(1000).build());
    limited.say(OFFER, MAIL, RCPT);

    assertEquals(List.of("c"), limited.say("B" + "x".repeat(1000)));
  }

  @Test
  void aHeaderOfMoreThan100KiBIsServed() {
    mta.say(OFFER, MAIL, RCPT);

    assertEquals(List.of("c"), mta.say("LX-Long|" + "x".repeat(102400) + "|"));
  }

  @Test
  @Tag("F54")
  void anUnknownCommandClosesTheConnection() {
    mta.say(OFFER, CONNECT);

    assertEquals(List.of(), mta.say("Z"));
    assertTrue(mta.isClosed());
    assertEquals(List.of("violated MALFORMED_PACKET", "closed MALFORMED_PACKET"), mta.reports());
  }

  @Test
  @Tag("F23")
  void aMalformedHeaderClosesTheConnectionAndTheMessageIsLost() {
    mta.say(OFFER, MAIL, RCPT);
    handler.heard();

    assertEquals(List.of(), mta.say("LSubject|no end"));
    assertTrue(mta.isClosed());
    assertEquals(
        List.of("abort", "message-end lost", "end of message", "disconnect error", "end of client"),
        handler.heard());
  }

  @Test
  void whatWasAnsweredBeforeABadPacketLeavesAllTheSame() {
    mta.say(OFFER);

    assertEquals(List.of("c", "c"), mta.say(CONNECT, MAIL, "Z"));
    assertTrue(mta.isClosed());
  }

  @Test
  void nothingAfterQuitIsServed() {
    mta.say(OFFER);
    handler.heard();

    assertEquals(List.of(), mta.say(QUIT, CONNECT, MAIL));
    assertEquals(List.of("quit", "disconnect quit", "end of client"), handler.heard());
  }

  @Test
  void theKernelIsToAcknowledgeAtOnceOnlyWhatGetsNoAnswer() {
    mta.say(OFFER);
    assertFalse(mta.engine.acknowledgeAtOnce(), "after the answer to the offer");
    mta.say("DCj|mx|");
    assertTrue(mta.engine.acknowledgeAtOnce(), "after a macro packet");
    mta.say("DCj|mx|", CONNECT);
    assertFalse(mta.engine.acknowledgeAtOnce(), "after an answered event");
    mta.feed(new byte[] {0, 0, 0});
    assertTrue(mta.engine.acknowledgeAtOnce(), "inside a packet");
    mta.feed(new byte[] {1, 'A'});
    assertTrue(mta.engine.acknowledgeAtOnce(), "after an abort");
    assertEquals(Wish.READ, mta.wish());
  }
}
