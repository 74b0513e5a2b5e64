package temse.server.internal;

import static temse.server.internal.DrivenEngine.offer;

import java.nio.ByteBuffer;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.concurrent.ExecutorService;
import temse.server.EngineOptions;
import temse.transport.internal.Conversation.End;
import temse.transport.internal.Conversation.Wish;

/** One conversation at random, driven as a transport would, and checked after every step. */
final class ModelTrial {
  private static final int LONGEST = 40;

  private static final List<String> OFFERS =
      List.of(
          DrivenEngine.OFFER,
          offer(2, 0x3F, 0x7F),
          offer(4, 0x1FF, 0x37F),
          offer(6, 0x1FF, 0x1FFBFF),
          offer(6, 0x1FF, 0x1FFFFF & ~0xFF080),
          offer(6, 0x1FF, 0x1FFC80),
          offer(6, 0x0F, 0x0FFFFF),
          offer(6, 0x1FF, 0x80));

  private static final List<String> IN_ORDER =
      List.of(
          "Mfrom|",
          "DRi|1|",
          "Rto|",
          "Rother|SIZE=1|",
          "T",
          "LSubject|hi|",
          "Lsubject|ho|",
          "N",
          "Bone",
          "Btwo",
          "Elast",
          "E");

  private static final List<String> ANYTHING =
      List.of(
          "Hhost|", "Mfrom|", "Rto|", "T", "LX|y|", "N", "B", "Bpiece", "E", "Elast", "A", "A",
          "Ufoo|", "Ufoo|", "DMi|1|", "DB", "K", "Q", "Ch|U", "O", "Z", "M", "Rno", "L", "Lx");

  private static final List<String> MALFORMED =
      List.of("M", "Rno", "L", "Lx", "DB", "B", "T", "N", "Ch|U");

  private final Chaos chaos;
  private final ModelLink link;
  private final ModelListener listener;
  private final ModelHandler handler;
  private final ConnectionEngine engine;
  private final List<String> said = new ArrayList<>();
  private final boolean pipelined;
  private ModelWire wire;
  private ModelFaults faults;
  private ByteBuffer rest = ByteBuffer.allocate(0);
  private long now = 1L << 40;
  private int place;
  private boolean ended;
  private boolean stopped;
  private boolean peerGone;

  /** Whether something has happened that may end the connection, or did so in the midst of work. */
  private boolean mayEnd;

  private boolean cutShort;

  ModelTrial(Chaos chaos, ExecutorService elsewhere) {
    this.chaos = chaos;
    this.link = new ModelLink(chaos);
    this.listener = new ModelListener(chaos, link);
    this.handler = new ModelHandler(chaos, link, elsewhere);
    this.pipelined = chaos.oneIn(3);
    EngineOptions options = options();
    this.engine =
        new ConnectionEngine(handler, options, listener, new Counts(options), link, 1, () -> now);
    handler.meanwhile = this::hold;
  }

  private EngineOptions options() {
    EngineOptions.Builder builder =
        EngineOptions.builder()
            .handlerTimeout(Duration.ofSeconds(8))
            .progressInterval(Duration.ofSeconds(3))
            .keepPayload(chaos.random.nextBoolean());
    if (chaos.oneIn(3)) {
      builder.maximumHeaderFields(1).maximumRecipients(1);
    }
    if (chaos.oneIn(10)) {
      builder.maximumMacroBytes(7).maximumHeaderBytes(9);
    }
    return builder.build();
  }

  List<String> broken() {
    return chaos.broken;
  }

  @Override
  public String toString() {
    return said + (wire == null ? "" : " (" + wire + ")");
  }

  // ---- the course of it

  void run() {
    chaos.oneIn = chaos.oneIn(8) ? 12 : 0;
    negotiate();
    chaos.oneIn = chaos.oneIn(5) ? 0 : 10 + chaos.random.nextInt(40);
    link.scarce = chaos.oneIn(6);
    handler.calm = false;
    for (int i = chaos.random.nextInt(LONGEST); i > 0 && !ended && chaos.broken.isEmpty(); i--) {
      step();
    }
    boolean quiet = !ended;
    if (!ended) {
      end(chaos.any(List.of(End.PEER_CLOSED, End.FAILED, End.TIMED_OUT, End.STOPPED)), null);
    }
    checkEnd(quiet);
  }

  private void negotiate() {
    String offer = chaos.any(OFFERS);
    said.add(offer);
    feed(DrivenEngine.bytes(offer));
    List<String> answer = link.take();
    if (ended) {
      return;
    }
    chaos.check(answer.size() == 1 && answer.get(0).charAt(0) == 'O', "the offer is answered");
    wire = new ModelWire(chaos, engine.connection().agreement(), true);
    faults = new ModelFaults(chaos, wire, handler.lenient);
  }

  private void step() {
    listener.failed.clear();
    handler.asked = 0;
    List<String> packets = new ArrayList<>();
    do {
      packets.add(nextPacket());
    } while (pipelined && !chaos.oneIn(3));
    packets.forEach(wire::send);
    said.addAll(packets);
    mayEnd |= packets.stream().anyMatch(MALFORMED::contains);
    feed(DrivenEngine.bytes(packets.toArray(String[]::new)));
    handler.useKept();
    wire.came(link.take());
    mayEnd |= handler.closed || wire.violated || wire.isOver();
    mayEnd |= stopped && (pipelined || !wire.inMessage());
    if (ended) {
      chaos.check(mayEnd || listener.violated > 0 && said.toString().contains("D"), "it closes");
    } else {
      chaos.check(wire.isQuiet(), "all is answered: " + wire);
      chaos.check(!handler.closed && !wire.violated && !wire.isOver(), "it should have closed");
    }
    if (!pipelined && wire.isQuiet()) {
      faults.after(listener.failed, handler.asked);
    }
    maybeStop();
  }

  private String nextPacket() {
    if (chaos.oneIn(6)) {
      return chaos.any(ANYTHING);
    }
    place = place < IN_ORDER.size() && wire.inMessage() || pipelined ? place : 0;
    if (place >= IN_ORDER.size()) {
      place = 0;
    }
    String packet = IN_ORDER.get(place);
    place += 1 + chaos.random.nextInt(2);
    return packet;
  }

  /** Sends the bytes in pieces, and goes on until more are wanted. */
  private void feed(byte[] bytes) {
    int from = 0;
    while (from < bytes.length && !ended) {
      int to = chaos.random.nextBoolean() ? bytes.length : from + 1 + chaos.random.nextInt(7);
      to = Math.min(to, bytes.length);
      byte[] more = Arrays.copyOfRange(bytes, from, to);
      rest = ByteBuffer.allocate(rest.remaining() + more.length).put(rest).put(more).flip();
      follow(call(() -> engine.receive(rest, now)));
      from = to;
    }
  }

  private void maybeStop() {
    if (!ended && !stopped && chaos.oneIn(60)) {
      stopped = true;
      mayEnd |= !wire.inMessage();
      follow(call(engine::stopping));
      wire.came(link.take());
    }
    if (!ended && chaos.oneIn(80)) {
      now = engine.deadline();
      chaos.check(call(() -> engine.expired(now)) == Wish.CLOSE, "silence ends a connection");
      mayEnd = true;
      follow(Wish.CLOSE);
    }
  }

  // ---- what the engine wants

  private void follow(Wish first) {
    Wish wish = first;
    for (int round = 0; !ended; round++) {
      if (round > 5000) {
        throw new IllegalStateException("it never ends: " + wish);
      }
      switch (wish) {
        case READ -> {
          if (peerGone) {
            end(End.PEER_CLOSED, null);
          } else if (rest.hasRemaining()) {
            chaos.check(round > 0, "input is left over although more is wanted");
            wish = call(() -> engine.receive(rest, now));
          } else {
            return;
          }
        }
        case CLOSE -> end(peerGone ? End.PEER_CLOSED : End.CLOSED_HERE, null);
        case DRAIN -> wish = drained();
        case MOVE -> wish = moved();
        case WAIT -> wish = waited();
      }
    }
  }

  private Wish drained() {
    cut(60);
    if (!ended && chaos.oneIn(40)) {
      return stopInTheMidst();
    }
    link.congested = false;
    return receiveMore();
  }

  /** The server stops while there is work that cannot go on now. */
  private Wish stopInTheMidst() {
    stopped = true;
    Wish wish = call(engine::stopping);
    if (wish == Wish.CLOSE) {
      mayEnd = true;
      cutShort = true;
    }
    return wish;
  }

  private Wish moved() {
    cut(60);
    if (!ended && chaos.oneIn(40)) {
      return stopInTheMidst();
    }
    if (chaos.oneIn(8)) {
      return ended ? Wish.CLOSE : call(() -> engine.starved(now));
    }
    link.onSpareThread = true;
    try {
      return receiveMore();
    } finally {
      link.onSpareThread = false;
    }
  }

  private Wish receiveMore() {
    return ended ? Wish.CLOSE : call(() -> engine.receive(rest, now));
  }

  /** A value is pending: it comes, or not in time, or the MTA goes, or the server stops. */
  private Wish waited() {
    cut(50);
    if (ended) {
      return Wish.CLOSE;
    }
    handler.useKept();
    if (chaos.oneIn(30)) {
      stopped = true;
      return call(engine::stopping);
    }
    if (!peerGone && !rest.hasRemaining() && chaos.oneIn(20)) {
      peerGone = true;
      mayEnd = true;
      cutShort = true;
      return call(() -> engine.peerClosed(now));
    }
    if (chaos.oneIn(3)) {
      now = engine.deadline();
      return call(() -> engine.expired(now));
    }
    handler.decide();
    for (Runnable task = link.tasks.poll(); task != null; task = link.tasks.poll()) {
      Runnable due = task;
      Wish wish =
          call(
              () -> {
                due.run();
                return engine.receive(rest, now);
              });
      if (wish != Wish.WAIT) {
        return wish;
      }
    }
    return Wish.WAIT;
  }

  /** A handler holds the connection: another thread sends progress. */
  private void hold() {
    if (engine.heldDeadline() != Long.MAX_VALUE) {
      now = engine.heldDeadline();
    }
    engine.held(now);
  }

  private interface Call {
    Wish of();
  }

  /** Nothing is thrown, unless the link itself has failed. */
  private Wish call(Call call) {
    link.hasFailed = false;
    try {
      return call.of();
    } catch (Throwable e) {
      chaos.check(link.hasFailed, "the engine throws " + e + at(e));
      chaos.check(!link.isInside(), "what is entered is left" + at(e));
      mayEnd = true;
      cutShort = true;
      end(End.FAILED, e);
      return Wish.CLOSE;
    }
  }

  private static String at(Throwable e) {
    return " at " + Arrays.stream(e.getStackTrace()).limit(12).toList();
  }

  // ---- the end

  private void cut(int oneIn) {
    if (chaos.oneIn(oneIn)) {
      mayEnd = true;
      cutShort = true;
      end(chaos.any(List.of(End.PEER_CLOSED, End.FAILED, End.STOPPED)), null);
    }
  }

  private void end(End how, Throwable cause) {
    ended = true;
    link.onSpareThread = true;
    link.scarce = false;
    try {
      engine.ended(how, cause);
    } catch (Throwable e) {
      chaos.check(false, "the end throws " + e + at(e));
    }
    handler.over();
    handler.useKept();
  }

  private void checkEnd(boolean quiet) {
    chaos.check(listener.closed == 1, "the end is reported once");
    chaos.check(!link.isInside(), "what is entered is left");
    chaos.check(!handler.leaks(), "every stream is closed");
    chaos.check(engine.deadline() >= 0, "the deadline can be asked for after the end");
    if (wire == null) {
      chaos.check(handler.clients == (handler.opened ? 1 : 0), "a client that has begun ends");
      return;
    }
    wire.came(link.take());
    boolean unread = pipelined && (stopped || handler.closed) || malformed();
    boolean exact = quiet || !cutShort && !unread && (wire.isQuiet() || wire.violated);
    if (exact) {
      wire.ended();
      chaos.check(handler.messages == wire.messages, "messages end once: " + counts());
      chaos.check(handler.clients == wire.clients, "clients end once: " + counts());
    }
  }

  private boolean malformed() {
    return listener.violated > 0 && said.stream().anyMatch(MALFORMED::contains);
  }

  private String counts() {
    return handler.messages + " " + handler.clients + ", not " + wire.messages + " " + wire.clients;
  }
}
