package temse.compose.internal;

import clojure.lang.IPersistentMap;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.util.List;
import java.util.Queue;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.function.Function;
import org.jspecify.annotations.Nullable;
import temse.message.Body;
import temse.message.Collector;
import temse.message.MessageStore;
import temse.protocol.ActionType;
import temse.protocol.Agreement;
import temse.protocol.EventCodec;
import temse.protocol.EventType;
import temse.protocol.Keys;
import temse.protocol.MilterException;
import temse.protocol.Offer;
import temse.protocol.Output;
import temse.protocol.Packet;
import temse.protocol.PacketDecoder;
import temse.protocol.Request;
import temse.server.EngineOptions;
import temse.server.MilterConnection;
import temse.server.internal.ConnectionEngine;
import temse.transport.internal.Conversation.End;
import temse.transport.internal.Conversation.Wish;
import temse.transport.internal.Link;

/**
 * One of several filters behind one connection: to it a sequence is the MTA of a connection of its
 * own, in this process. Its engine keeps it to its agreement and settles its replies.
 */
final class Member implements Link {
  private static final int LARGEST_PACKET = 16 * 1024 * 1024;
  private static final ByteBuffer NOTHING = ByteBuffer.allocate(0);

  /** How often a value that is late is given up: handlers may wait for another one. */
  private static final int MOST_LATE = 100_000;

  private final String title;
  private final MessageStore store;
  private final ConnectionEngine engine;
  private final Observation observation;
  private final MacroFeed macros;
  private final Output output = new Output();
  private final PacketDecoder decoder = new PacketDecoder(LARGEST_PACKET);
  private final Queue<Runnable> tasks = new ConcurrentLinkedQueue<>();
  private final String peer;
  private ByteBuffer unread = NOTHING;
  private boolean closed;
  private @Nullable Collector newBody;

  /** The event of the MTA's connection that is being served. */
  private volatile MilterConnection outer;

  /** What the event of the MTA's connection waits for while this filter waits, or null. */
  private volatile @Nullable CompletableFuture<Boolean> wake;

  /** Opens the connection of a filter and negotiates an offer for it. */
  Member(Node node, MessageStore store, MilterConnection connection, Offer offer)
      throws IOException {
    this.title = node.title();
    this.store = store;
    this.outer = connection;
    this.peer = connection.peer();
    this.observation = new Observation(node.factory(), node.listener());
    this.engine = new ConnectionEngine(observation, options(node), observation, this, connection);
    if (!send(connection, List.of(offer.packet()))) {
      throw lost();
    }
    this.macros = new MacroFeed(request());
  }

  /** Without limits of its own: the connection to the MTA has them. */
  private static EngineOptions options(Node node) {
    EngineOptions.Builder builder =
        EngineOptions.builder()
            .maximumPacketSize(LARGEST_PACKET)
            .maximumUnfinishedBytes(Long.MAX_VALUE)
            .maximumHeaderFields(Integer.MAX_VALUE)
            .maximumHeaderBytes(Long.MAX_VALUE)
            .maximumRecipients(Integer.MAX_VALUE)
            .maximumMacroBytes(Long.MAX_VALUE)
            .keywords(node.options().keywords());
    node.options().defaultReplies().forEach(builder::defaultReply);
    return builder.build();
  }

  /** {@return what the filter has asked for} */
  Request request() {
    return observation.request();
  }

  /** {@return what holds between it and the sequence} */
  Agreement agreement() {
    return engine.connection().agreement();
  }

  /** {@return what it has answered to the event that it received last} */
  List<IPersistentMap> answers() {
    return observation.answers();
  }

  // ---- sending events to it

  /** Sends it an event of the MTA's connection, and returns false if it waits for a value. */
  boolean send(MilterConnection connection, EventType type, IPersistentMap event)
      throws IOException {
    List<Packet> packets = macros.packets(type, connection.macros());
    packets.add(EventCodec.encode(event));
    return send(connection, packets);
  }

  private boolean send(MilterConnection connection, List<Packet> packets) throws IOException {
    if (closed) {
      throw lost();
    }
    outer = connection;
    observation.begin();
    unread = joined(packets);
    return serve();
  }

  private static ByteBuffer joined(List<Packet> packets) {
    int length = 0;
    for (Packet packet : packets) {
      length += 5 + packet.payload().length;
    }
    ByteBuffer bytes = ByteBuffer.allocate(length);
    packets.forEach(packet -> bytes.put(packet.toBytes()));
    return bytes.flip();
  }

  private MilterException lost() {
    return new MilterException(
        MilterException.Category.CONNECTION_LOST,
        "the filter " + title + " has closed its connection, and cannot be asked any more");
  }

  /** Lets it go on with what it has received; returns false if it waits for a value. */
  boolean serve() throws IOException {
    while (true) {
      for (Runnable task = tasks.poll(); task != null; task = tasks.poll()) {
        task.run();
      }
      Wish wish = engine.receive(unread, System.nanoTime());
      drain();
      switch (wish) {
        case READ -> {
          return true;
        }
        case WAIT -> {
          return false;
        }
        case CLOSE -> {
          end(End.CLOSED_HERE);
          drain();
          observation.throwFailure();
          return true;
        }
        default -> {}
      }
    }
  }

  /** Leaves the event of the MTA's connection open until there is something to do for it. */
  void await(
      MilterConnection connection,
      Function<Boolean, @Nullable List<IPersistentMap>> goOn,
      Runnable givenUp) {
    CompletableFuture<Boolean> woken = new CompletableFuture<>();
    wake = woken;
    if (!tasks.isEmpty()) {
      woken.complete(true);
    }
    connection.awaitMaps(woken, goOn, givenUp);
  }

  /** Has the value that it waits for be late: what it then answers is of no interest any more. */
  void giveUp() throws IOException {
    for (int late = 0; late < MOST_LATE && !closed; late++) {
      if (engine.expired(engine.deadline()) != Wish.WAIT) {
        break;
      }
      drain();
    }
    drain();
  }

  boolean isClosed() {
    return closed;
  }

  /**
   * Ends its connection, as the MTA would that goes, unless it has ended. Work that it waits for is
   * given up.
   */
  void end(End how) {
    if (!closed) {
      closed = true;
      engine.ended(how, null);
    }
  }

  // ---- what it writes

  /**
   * Takes what the engine has written. Only bodies and progress are of interest: what else answers
   * an event is observation.
   */
  private void drain() throws IOException {
    if (output.size() == 0) {
      return;
    }
    ByteBuffer bytes = ByteBuffer.wrap(output.toByteArray());
    output.clear();
    for (Packet packet = decoder.next(bytes); packet != null; packet = decoder.next(bytes)) {
      if (packet.code() == ActionType.CHANGE_BODY.code) {
        takeBody(packet);
      } else if (packet.code() == ActionType.PROGRESS.code) {
        outer.progress();
      }
    }
  }

  private void takeBody(Packet packet) throws IOException {
    if (newBody == null) {
      newBody = Content.begun(store, outer);
    }
    newBody.take(
        outer, EventType.BODY, EventCodec.event(EventType.BODY, Keys.DATA, packet.payload()));
  }

  /** {@return the body that it puts in the place of the message's, or null} */
  @Nullable Body newBody(MilterConnection connection) {
    return newBody == null ? null : newBody.message(connection, EventType.END_OF_MESSAGE).body();
  }

  /** Gives back what it holds of the message. */
  void messageEnds() throws IOException {
    Collector ended = newBody;
    newBody = null;
    if (ended != null) {
      ended.end();
    }
  }

  // ---- its link

  @Override
  public Output output() {
    return output;
  }

  @Override
  public void flush() {
    try {
      drain();
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  @Override
  public void writeNow(byte[] packets) {
    outer.progress();
  }

  @Override
  public boolean enter(int kind) {
    return true;
  }

  @Override
  public void leave() {}

  @Override
  public void later(Runnable task) {
    tasks.add(task);
    CompletableFuture<Boolean> woken = wake;
    if (woken != null) {
      woken.complete(true);
    }
  }

  @Override
  public String peer() {
    return peer;
  }
}
