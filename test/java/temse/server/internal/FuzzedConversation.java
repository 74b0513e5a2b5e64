package temse.server.internal;

import clojure.lang.IPersistentMap;
import java.nio.charset.StandardCharsets;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Collection;
import java.util.Deque;
import java.util.EnumSet;
import java.util.List;
import java.util.Random;
import java.util.concurrent.CompletableFuture;
import temse.fuzz.PacketLines;
import temse.protocol.ActionCodec;
import temse.protocol.ActionFlag;
import temse.protocol.EventType;
import temse.protocol.MilterException;
import temse.protocol.Packet;
import temse.protocol.Request;
import temse.server.ConnectionInfo;
import temse.server.EngineOptions;
import temse.server.MilterConnection;
import temse.server.MilterFactory;
import temse.server.MilterHandler;
import temse.transport.internal.Conversation.Wish;

/**
 * A conversation that an input describes, a line each: see {@link PacketLines}. {@link ModelWire}
 * follows which replies are owed.
 *
 * <pre>
 * =XY            what the handler asks for: two characters whose bits choose
 * O...           a packet of the MTA
 * &lt;HOW ACTIONS   how the handler answers a call, and with what: packets of a milter with tabs
 *                between; HOW is a space, ? for a value that comes later, ~ for one that never
 *                does, ! for an exception, x for closing the connection
 * ^              the server stops
 * </pre>
 *
 * <p>Answers are taken in turn; a handler without one returns nothing.
 */
public final class FuzzedConversation {
  private static final String OFFER = DrivenEngine.OFFER;

  private final Chaos chaos = new Chaos(new Random(0));
  private final Deque<String> answers = new ArrayDeque<>();
  private final List<String> script = new ArrayList<>();
  private final Handler handler;
  private final DrivenEngine mta;
  private ModelWire wire;
  private boolean stopped;

  private FuzzedConversation(byte[] input) {
    String wishes = "";
    for (String line : PacketLines.of(input)) {
      if (line.startsWith("=")) {
        wishes = line.substring(1);
      } else if (line.startsWith("<")) {
        answers.add(line.substring(1));
      } else if (!line.isEmpty()) {
        script.add(line);
      }
    }
    handler = new Handler(wishes);
    mta =
        new DrivenEngine(
            handler, EngineOptions.builder().maximumRecipients(20).maximumHeaderFields(20).build());
  }

  /**
   * Plays a conversation.
   *
   * @param input any bytes
   * @return the rules that were broken
   */
  public static List<String> broken(byte[] input) {
    FuzzedConversation conversation = new FuzzedConversation(input);
    conversation.play();
    return conversation.chaos.broken;
  }

  private void play() {
    boolean offered = !script.isEmpty() && script.get(0).startsWith("O");
    String offer = offered ? script.remove(0) : OFFER;
    List<String> answer = mta.feed(bytes(offer));
    if (mta.isClosed()) {
      chaos.check(answer.isEmpty(), "a refused offer is not answered");
      return;
    }
    chaos.check(answer.size() == 1 && answer.get(0).startsWith("O"), "the offer is answered");
    wire = new ModelWire(chaos, mta.engine.connection().agreement(), false);
    for (String line : script) {
      if (mta.isClosed() || !chaos.broken.isEmpty()) {
        break;
      }
      if (line.equals("^")) {
        stop();
      } else {
        exchange(line);
      }
    }
    end();
  }

  private void exchange(String line) {
    wire.send(line);
    List<String> replies = new ArrayList<>(mta.feed(bytes(line)));
    for (int round = 0; !mta.isClosed() && mta.wish() == Wish.WAIT; round++) {
      chaos.check(round < 1000, "it waits for ever");
      if (round >= 1000) {
        return;
      }
      replies.addAll(handler.decide() ? mta.runTasks() : mta.passToDeadline());
    }
    wire.came(replies);
    if (!mta.isClosed()) {
      chaos.check(wire.isQuiet(), "all is answered: " + wire);
      chaos.check(!wire.isOver() && !wire.violated, "it should have closed: " + wire);
      return;
    }
    boolean mayEnd = wire.isOver() || violated() || handler.closed;
    chaos.check(mayEnd || stopped && !wire.inMessage(), "it closes: " + mta.reports);
    chaos.check(violated() || handler.closed || wire.isQuiet(), "all is answered first: " + wire);
  }

  private boolean violated() {
    return mta.reports.stream().anyMatch(line -> line.startsWith("violated"));
  }

  private void stop() {
    stopped = true;
    mta.stop();
    chaos.check(wire.inMessage() != mta.isClosed(), "it stops between messages");
  }

  private void end() {
    boolean closed = mta.isClosed();
    if (!closed) {
      mta.hangUp();
    }
    chaos.check(
        mta.reports.stream().filter(line -> line.startsWith("closed")).count() == 1,
        "the end is reported once: " + mta.reports);
    if (!closed || !violated() && !handler.closed) {
      wire.ended();
      chaos.check(handler.messages == wire.messages, "messages end once");
      chaos.check(handler.clients == wire.clients, "clients end once");
    }
  }

  private static byte[] bytes(String line) {
    return PacketLines.packet(line).toBytes();
  }

  /** Answers as the input says. */
  private final class Handler implements MilterFactory, MilterHandler {
    private final Request request;
    private final List<Runnable> undecided = new ArrayList<>();
    private boolean closed;
    private int messages;
    private int clients;

    Handler(String wishes) {
      Request.Builder builder =
          Request.builder()
              .events(without(ScriptedHandler.ALL, wishes, 0))
              .optionalEvents(ScriptedHandler.ALL)
              .optionalActions(EnumSet.allOf(ActionFlag.class))
              .leadingSpace((bits(wishes, 0) & 0x80) != 0);
      if ((bits(wishes, 1) & 0x80) != 0) {
        builder.noReplyEvents(without(EnumSet.range(EventType.CONNECT, EventType.BODY), wishes, 1));
      }
      this.request = builder.build();
    }

    private static int bits(String text, int index) {
      return index < text.length() ? text.charAt(index) : 0;
    }

    /** Leaves out those events whose place, modulo 7, is the number of a bit that is set. */
    private static Collection<EventType> without(
        Collection<EventType> types, String wishes, int index) {
      return types.stream()
          .filter(type -> (bits(wishes, index) >> type.ordinal() % 7 & 1) == 0)
          .toList();
    }

    /** Has values that are pending come, or returns false if none does. */
    boolean decide() {
      List<Runnable> due = List.copyOf(undecided);
      undecided.clear();
      due.forEach(Runnable::run);
      return !due.isEmpty();
    }

    @Override
    public MilterHandler open(ConnectionInfo connection) {
      return this;
    }

    @Override
    public Request request(MilterConnection connection, IPersistentMap offer) {
      return request;
    }

    @Override
    public List<IPersistentMap> onEvent(
        MilterConnection connection, EventType type, IPersistentMap event) {
      String answer = answers.poll();
      if (answer == null || answer.isEmpty()) {
        return null;
      }
      List<IPersistentMap> actions = actions(answer.substring(1));
      switch (answer.charAt(0)) {
        case '?', '~' -> {
          CompletableFuture<List<IPersistentMap>> value = new CompletableFuture<>();
          if (answer.charAt(0) == '?') {
            undecided.add(() -> value.complete(actions));
          }
          connection.awaitMaps(value, given -> given, () -> {});
          return null;
        }
        case '!' -> throw new IllegalStateException("as the input says");
        case 'x' -> {
          closed = true;
          connection.close();
          return actions;
        }
        default -> {
          return actions;
        }
      }
    }

    private static List<IPersistentMap> actions(String text) {
      List<IPersistentMap> actions = new ArrayList<>();
      for (String line : text.split("\t")) {
        if (!line.isEmpty()) {
          actions.add(action(PacketLines.packet(line)));
        }
      }
      return actions;
    }

    private static IPersistentMap action(Packet packet) {
      try {
        return ActionCodec.decode(packet);
      } catch (MilterException e) {
        return ScriptedHandler.typed(new String(packet.payload(), StandardCharsets.ISO_8859_1));
      }
    }

    @Override
    public void scopeEnded(EventType type) {
      if (type == EventType.MESSAGE_END) {
        messages++;
      } else {
        clients++;
      }
    }
  }
}
