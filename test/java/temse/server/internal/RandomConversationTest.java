package temse.server.internal;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static temse.server.internal.DrivenEngine.offer;

import clojure.lang.IPersistentMap;
import clojure.lang.Keyword;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collection;
import java.util.EnumSet;
import java.util.List;
import java.util.Random;
import java.util.concurrent.CompletableFuture;
import org.junit.jupiter.api.Test;
import temse.protocol.ActionFlag;
import temse.protocol.ActionType;
import temse.protocol.Actions;
import temse.protocol.Agreement;
import temse.protocol.EventType;
import temse.protocol.Keys;
import temse.protocol.MilterException;
import temse.protocol.Phase;
import temse.protocol.Request;
import temse.server.ConnectionInfo;
import temse.server.EngineOptions;
import temse.server.MilterConnection;
import temse.server.MilterFactory;
import temse.server.MilterHandler;
import temse.transport.internal.Conversation.Wish;

/**
 * Thousands of conversations at random, likely and unlikely ones, with handlers that do anything at
 * random. A model that counts what is owed says what must come of each packet.
 *
 * <p>A failure names the seed that repeats it: {@code -Dtemse.seed=…}.
 */
class RandomConversationTest {
  private static final int CONVERSATIONS = 4000;
  private static final int LONGEST = 60;

  private static final List<String> OFFERS =
      List.of(
          DrivenEngine.OFFER,
          offer(2, 0x3F, 0x7F),
          offer(4, 0x1FF, 0x37F),
          offer(6, 0x1FF, 0x1FFBFF),
          offer(6, 0x1FF, 0x1FFFFF & ~0xFF080),
          offer(6, 0x0F, 0x0FFFFF),
          offer(6, 0x1FF, 0x80));

  private static final List<String> IN_ORDER =
      List.of(
          "Mfrom|",
          "Rto|",
          "Rother|SIZE=1|",
          "T",
          "LSubject|hi|",
          "Lsubject|ho|",
          "N",
          "Bone",
          "Btwo",
          "E");

  private static final List<String> ANYTHING =
      List.of(
          "Hhost|", "Mfrom|", "Rto|", "T", "LX|y|", "N", "B", "Bpiece", "E", "Elast", "A", "A",
          "Ufoo|", "DMi|1|", "DB", "K", "Q", "Ch|U", "O", "Z");

  private static final List<IPersistentMap> REPLIES =
      List.of(
          Actions.proceed(),
          Actions.proceed(),
          Actions.proceed(),
          Actions.accept(),
          Actions.reject(),
          Actions.temporaryFailure(),
          Actions.discard(),
          Actions.skip(),
          Actions.shutdown(),
          Actions.replyCode(550, "5.7.1", "100% no\nreally"),
          Actions.replyCode(451, null, "later"),
          ScriptedHandler.typed("reply-code", Keys.SMTP_CODE, 200L));

  private static final List<IPersistentMap> OTHERS =
      List.of(
          Actions.addHeader("X", "y"),
          ScriptedHandler.typed("add-header", Keys.NAME, "not a name", Keys.VALUE, "y"),
          Actions.changeBody("new"),
          Actions.quarantine("why"),
          Actions.addRecipient("<c>", List.of("NOTIFY=NEVER")),
          ScriptedHandler.typed("progress"),
          ScriptedHandler.typed("nonsense"));

  @Test
  void everyEventIsAnsweredOnceAndEveryScopeEndsOnce() {
    long seed = Long.getLong("temse.seed", System.nanoTime());
    for (long trial = seed; trial < seed + CONVERSATIONS; trial++) {
      Trial conversation = new Trial(new Random(trial));
      try {
        conversation.run();
      } catch (Throwable e) {
        throw new AssertionError(
            "-Dtemse.seed=" + trial + " fails after " + conversation.said + ": " + e, e);
      }
    }
  }

  private static final class Trial {
    private final Random random;
    private final RandomHandler handler;
    private final DrivenEngine mta;
    private final List<String> said = new ArrayList<>();
    private final List<String> messageEnds = new ArrayList<>();
    private final List<String> clientEnds = new ArrayList<>();
    private Phase session = Phase.START;
    private Agreement agreement;
    private boolean clientOpen;
    private boolean stopped;
    private boolean cutShort;
    private int place;

    Trial(Random random) {
      this.random = random;
      this.handler = new RandomHandler(random);
      this.mta = new DrivenEngine(handler, EngineOptions.DEFAULTS);
    }

    void run() {
      mta.link.refuse(entry -> random.nextInt(10) == 0);
      String offer = OFFERS.get(random.nextInt(OFFERS.size()));
      said.add(offer);
      assertEquals(1, mta.say(offer).size(), "the offer is answered");
      agreement = mta.engine.connection().agreement();
      session = session.after(EventType.OPTIONS, false);
      clientOpen = true;
      handler.begin();
      int length = random.nextInt(LONGEST);
      for (int i = 0; i < length && !mta.isClosed(); i++) {
        exchange(nextPacket());
        maybeStop();
      }
      if (!mta.isClosed()) {
        endMessage("lost");
        endClient(stopped ? "stopping" : "connection-lost");
        mta.hangUp();
      }
      checkScopes();
    }

    private String nextPacket() {
      if (random.nextInt(5) == 0) {
        return ANYTHING.get(random.nextInt(ANYTHING.size()));
      }
      place = session.inMessage() ? place + random.nextInt(3) : 0;
      return place < IN_ORDER.size() ? IN_ORDER.get(place) : "E";
    }

    private void exchange(String packet) {
      said.add(packet);
      EventType type = EventType.ofCode((byte) packet.charAt(0));
      Phase next = after(type);
      boolean owed = next != null && agreement.owesReply(type);
      if (next != null) {
        follow(type, next);
      }
      List<String> replies = new ArrayList<>(feed(DrivenEngine.bytes(packet)));
      replies.addAll(settlePending());
      if (cutShort) {
        return;
      }
      assertEquals(
          next == null,
          mta.reports.stream().anyMatch(line -> line.startsWith("violated")),
          "the packet breaks the protocol");
      checkReplies(type, owed, replies);
      if (owed) {
        settle(type, replies.get(replies.size() - 1));
      }
      checkClosed(type, next);
    }

    private Phase after(EventType type) {
      try {
        return type == null ? null : session.after(type, agreement.suppresses(EventType.MAIL));
      } catch (MilterException e) {
        return null;
      }
    }

    private void follow(EventType type, Phase next) {
      if (session.aborts(type)) {
        endMessage("aborted");
      }
      session = next;
      if (type == EventType.DISCONNECT || type == EventType.QUIT) {
        endClient(type == EventType.QUIT ? "quit" : "new-connection");
      } else if (type != EventType.ABORT && type != EventType.DEFINE_MACRO) {
        clientOpen = true;
      }
    }

    /** Sends the bytes in pieces. */
    private List<String> feed(byte[] bytes) {
      List<String> replies = new ArrayList<>();
      int from = 0;
      while (from < bytes.length && !mta.isClosed()) {
        int to = random.nextBoolean() ? bytes.length : from + 1 + random.nextInt(3);
        to = Math.min(to, bytes.length);
        replies.addAll(mta.feed(Arrays.copyOfRange(bytes, from, to)));
        from = to;
      }
      return replies;
    }

    /** Has pending values come, fail or time out, or the MTA go away meanwhile. */
    private List<String> settlePending() {
      List<String> replies = new ArrayList<>();
      for (int round = 0; !mta.isClosed() && mta.wish() == Wish.WAIT; round++) {
        assertTrue(round < 1000, "the engine waits for ever");
        if (random.nextInt(50) == 0) {
          cutShort = true;
          mta.hangUp();
        } else if (random.nextInt(3) == 0) {
          replies.addAll(mta.passToDeadline());
        } else {
          handler.decide();
          replies.addAll(mta.runTasks());
        }
      }
      return replies;
    }

    private void checkReplies(EventType type, boolean owed, List<String> replies) {
      for (String reply : replies.subList(0, Math.max(0, replies.size() - 1))) {
        assertEquals(
            EventType.END_OF_MESSAGE, type, "only the end of message has more: " + replies);
        assertTrue(
            "himbe+2-qp".indexOf(reply.charAt(0)) >= 0, "a final reply comes last: " + reply);
      }
      if (!owed) {
        assertEquals(List.of(), replies, "no reply is owed");
        return;
      }
      assertFalse(replies.isEmpty(), "a reply is owed to " + type);
      char last = replies.get(replies.size() - 1).charAt(0);
      assertTrue("cartdsy".indexOf(last) >= 0, "the last is final: " + replies);
      assertTrue(last != 's' || type == EventType.BODY, "skip answers the body only");
      if (!handler.mayAnswer(type) && session.inMessage() && last != 'c') {
        assertEquals('t', last, "nothing but a failure decides about " + type);
        assertTrue(mta.reports.stream().anyMatch(line -> line.startsWith("failed")));
      }
    }

    private void settle(EventType type, String reply) {
      ActionType verdict =
          switch (reply.charAt(0)) {
            case 'a' -> ActionType.ACCEPT;
            case 'r' -> ActionType.REJECT;
            case 't' -> ActionType.TEMPORARY_FAILURE;
            case 'd' -> ActionType.DISCARD;
            case 'y' -> reply.charAt(1) == '5' ? ActionType.REJECT : ActionType.TEMPORARY_FAILURE;
            default -> ActionType.CONTINUE;
          };
      boolean inMessage = session.inMessage();
      Phase settled = session.settle(type, verdict);
      if (inMessage && settled != session) {
        endMessage(
            switch (verdict) {
              case REJECT -> "rejected";
              case TEMPORARY_FAILURE -> "deferred";
              case DISCARD -> "discarded";
              default -> "accepted";
            });
      }
      session = settled;
    }

    private void checkClosed(EventType type, Phase next) {
      boolean quit = type == EventType.QUIT;
      boolean due = next == null || quit || handler.hasClosed() || stopped && !session.inMessage();
      assertEquals(due, mta.isClosed(), "the connection is closed after " + type);
      if (due && !quit) {
        endMessage("lost");
        endClient(next == null ? "error" : stopped ? "stopping" : "connection-lost");
      }
    }

    private void maybeStop() {
      if (!mta.isClosed() && !stopped && random.nextInt(60) == 0) {
        stopped = true;
        mta.stop();
        assertEquals(!session.inMessage(), mta.isClosed(), "it stops if nothing is in progress");
        if (mta.isClosed()) {
          endClient("stopping");
        }
      }
    }

    private void endMessage(String reason) {
      if (reason.equals("lost") && !session.inMessage()) {
        return;
      }
      messageEnds.add("message-end " + reason);
    }

    private void endClient(String reason) {
      if (clientOpen) {
        clientOpen = false;
        clientEnds.add("disconnect " + reason);
      }
    }

    /** What was cut short while it was pending is checked by the count alone. */
    private void checkScopes() {
      assertTrue(mta.isClosed());
      assertEquals(1, mta.reports.stream().filter(line -> line.startsWith("closed")).count());
      List<String> ends = handler.heard("message-end ");
      List<String> disconnects = handler.heard("disconnect ");
      int messages = handler.heard("end of message").size();
      int clients = handler.heard("end of client").size();
      if (cutShort) {
        assertTrue(messages >= ends.size());
        assertTrue(clients >= disconnects.size());
        return;
      }
      assertEquals(messageEnds.size(), messages, "scopes of messages");
      assertEquals(clientEnds.size(), clients, "scopes of clients");
      if (handler.hears(EventType.MESSAGE_END)) {
        assertEquals(messageEnds, ends);
      }
      if (handler.hears(EventType.DISCONNECT)) {
        assertEquals(clientEnds, disconnects);
      }
    }
  }

  /** Answers at random: rightly, wrongly, later, never, or fails. */
  private static final class RandomHandler implements MilterFactory, MilterHandler {
    private final Random random;
    private final Request request;
    private final List<String> heard = new ArrayList<>();
    private final List<CompletableFuture<List<IPersistentMap>>> undecided = new ArrayList<>();
    private boolean calm = true;
    private boolean closed;

    RandomHandler(Random random) {
      this.random = random;
      Request.Builder wishes =
          Request.builder()
              .events(some(ScriptedHandler.ALL, 4))
              .optionalEvents(ScriptedHandler.ALL)
              .optionalActions(EnumSet.allOf(ActionFlag.class))
              .leadingSpace(random.nextBoolean());
      if (random.nextBoolean()) {
        wishes.noReplyEvents(some(EnumSet.range(EventType.CONNECT, EventType.BODY), 2));
      }
      this.request = wishes.build();
    }

    private Collection<EventType> some(Collection<EventType> types, int outOfFive) {
      return types.stream().filter(type -> random.nextInt(5) < outOfFive).toList();
    }

    void begin() {
      calm = false;
    }

    boolean hears(EventType type) {
      return request.events().contains(type);
    }

    boolean mayAnswer(EventType type) {
      boolean body = type == EventType.END_OF_MESSAGE && mayAnswer(EventType.BODY);
      return hears(type) && !request.noReplyEvents().contains(type) || body;
    }

    boolean hasClosed() {
      return closed;
    }

    List<String> heard(String prefix) {
      return heard.stream().filter(line -> line.startsWith(prefix)).toList();
    }

    /** Has the pending values come, or fail. */
    void decide() {
      for (CompletableFuture<List<IPersistentMap>> value : undecided) {
        if (random.nextInt(5) == 0) {
          value.completeExceptionally(new IllegalStateException("at random"));
        } else {
          value.complete(anyActions());
        }
      }
      undecided.clear();
    }

    @Override
    public MilterHandler open(ConnectionInfo opened) {
      return this;
    }

    @Override
    public Request request(MilterConnection connection, IPersistentMap offer) {
      return request;
    }

    @Override
    public List<IPersistentMap> onEvent(
        MilterConnection connection, EventType type, IPersistentMap event) {
      Object reason = event.valAt(Keys.REASON);
      heard.add(
          type.keyword.getName() + (reason == null ? "" : " " + ((Keyword) reason).getName()));
      switch (calm ? 0 : random.nextInt(16)) {
        case 1 -> throw new IllegalStateException("at random");
        case 2 -> {
          CompletableFuture<List<IPersistentMap>> value = new CompletableFuture<>();
          undecided.add(value);
          connection.awaitMaps(value, actions -> actions, () -> {});
          return null;
        }
        case 3 ->
            connection.awaitMaps(CompletableFuture.completedFuture(anyActions()), a -> a, () -> {});
        case 4 -> connection.progress();
        case 5 -> connection.send(REPLIES.get(random.nextInt(REPLIES.size())));
        case 6 -> {
          if (random.nextInt(20) == 0) {
            closed = true;
            connection.close();
          }
        }
        case 7, 8, 9 -> {
          return anyActions();
        }
        default -> {}
      }
      return null;
    }

    private List<IPersistentMap> anyActions() {
      List<IPersistentMap> actions = new ArrayList<>();
      while (random.nextInt(3) == 0) {
        actions.add(OTHERS.get(random.nextInt(OTHERS.size())));
      }
      while (random.nextInt(4) != 0 && actions.size() < 6) {
        actions.add(REPLIES.get(random.nextInt(REPLIES.size())));
      }
      return actions;
    }

    @Override
    public void scopeEnded(EventType type) {
      heard.add("end of " + (type == EventType.MESSAGE_END ? "message" : "client"));
    }
  }
}
