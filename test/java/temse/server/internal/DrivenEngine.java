package temse.server.internal;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNotEquals;

import java.io.ByteArrayOutputStream;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import temse.protocol.Event;
import temse.protocol.EventType;
import temse.protocol.MilterException;
import temse.protocol.Missing;
import temse.protocol.Packet;
import temse.protocol.PacketDecoder;
import temse.server.ConnectionInfo;
import temse.server.EngineOptions;
import temse.server.MilterFactory;
import temse.server.OutdatedConnection;
import temse.server.ServerListener;
import temse.transport.internal.Conversation.End;
import temse.transport.internal.Conversation.Wish;

/**
 * An engine that is driven by hand, as a transport would.
 *
 * <p>Packets are written as text: the code, then the payload with a bar for each NUL; {@code
 * "M<a@example.org>|"} is a MAIL, {@code "c"} a continue.
 */
final class DrivenEngine {
  static final String OFFER = "O\0\0\0\6\0\0\1\u00ff\0\u001f\u00ff\u00ff";
  static final String CONNECT = "Cclient.example.org|4\u009d\u00ba192.0.2.1|";
  static final String HELO = "Hclient.example.org|";
  static final String MAIL = "M<a@example.org>|";
  static final String RCPT = "R<b@example.com>|";
  static final String DATA = "T";
  static final String HEADER = "LSubject|hi|";
  static final String EOH = "N";
  static final String BODY = "Btext\r\n";
  static final String EOM = "E";
  static final String ABORT = "A";
  static final String QUIT = "Q";
  static final String QUIT_NC = "K";

  final ScriptedLink link = new ScriptedLink();
  final List<String> reports = new ArrayList<>();
  final ConnectionEngine engine;

  private final Succession succession;
  private ByteBuffer rest = ByteBuffer.allocate(0);
  private Wish wish = Wish.READ;
  private long now;
  private boolean ended;

  DrivenEngine(ScriptedHandler handler) {
    this(handler, EngineOptions.DEFAULTS);
  }

  DrivenEngine(MilterFactory factory, EngineOptions options) {
    now = System.nanoTime();
    succession = new Succession(new Service(factory, options, new Reporter()));
    engine = new ConnectionEngine(succession, new Counts(options), link, 1, () -> now);
  }

  /** Has another factory follow. */
  void replace(MilterFactory factory) {
    replace(factory, EngineOptions.DEFAULTS);
  }

  void replace(MilterFactory factory, EngineOptions options) {
    succession.follow(new Service(factory, options, new Reporter()));
  }

  /** Returns what the connection lacks that keeps its factory, or null. */
  Missing missing() {
    List<OutdatedConnection> outdated = succession.outdated();
    return outdated.isEmpty() ? null : outdated.get(0).missing();
  }

  /** Sends packets when no thread can be had for what they call. */
  void sayWithoutThreads(String... packets) {
    link.refuse(entry -> true);
    rest = ByteBuffer.wrap(bytes(packets));
    assertEquals(Wish.MOVE, engine.receive(rest, now));
    link.refuse(entry -> false);
  }

  /** No thread can be had for what is due. */
  List<String> starve() {
    follow(engine.starved(now));
    return replies();
  }

  /** Returns an engine that has negotiated with a current MTA. */
  static DrivenEngine negotiated(ScriptedHandler handler) {
    return negotiated(handler, EngineOptions.DEFAULTS);
  }

  static DrivenEngine negotiated(ScriptedHandler handler, EngineOptions options) {
    DrivenEngine mta = new DrivenEngine(handler, options);
    mta.say(OFFER);
    assertEquals(Wish.READ, mta.wish(), () -> "the negotiation failed: " + mta.reports);
    handler.heard();
    return mta;
  }

  /** Returns the offer of a version, action flags and protocol flags. */
  static String offer(int version, int actions, int protocol) {
    ByteBuffer payload = ByteBuffer.allocate(12).putInt(version).putInt(actions).putInt(protocol);
    return "O" + new String(payload.array(), StandardCharsets.ISO_8859_1);
  }

  /** Sends packets in one piece and returns the packets that came back. */
  List<String> say(String... packets) {
    return feed(bytes(packets));
  }

  List<String> feed(byte[] bytes) {
    assertFalse(ended, "nothing can be sent, the connection is over");
    rest = ByteBuffer.allocate(rest.remaining() + bytes.length).put(rest).put(bytes).flip();
    if (wish == Wish.READ) {
      follow(engine.receive(rest, now));
    }
    return replies();
  }

  /** Returns the packets that the engine has written since the last call. */
  List<String> replies() {
    PacketDecoder decoder = new PacketDecoder(1 << 24);
    ByteBuffer bytes = ByteBuffer.wrap(link.take());
    List<String> replies = new ArrayList<>();
    for (Packet packet = decoder.next(bytes); packet != null; packet = decoder.next(bytes)) {
      String payload = new String(packet.payload(), StandardCharsets.ISO_8859_1);
      replies.add((char) packet.code() + payload.replace('\0', '|'));
    }
    assertFalse(decoder.midPacket(), "the engine has written part of a packet");
    return replies;
  }

  /** Runs what the engine asked to run later and returns the packets that came of it. */
  List<String> runTasks() {
    for (Runnable task = link.tasks.poll(); task != null && !ended; task = link.tasks.poll()) {
      task.run();
      follow(engine.receive(rest, now));
    }
    return replies();
  }

  /** Lets the time pass to the engine's next deadline and returns what it says then. */
  List<String> passToDeadline() {
    now = engine.deadline();
    Wish next = engine.expired(now);
    follow(next == Wish.READ && rest.hasRemaining() ? engine.receive(rest, now) : next);
    return replies();
  }

  Duration untilDeadline() {
    return Duration.ofNanos(engine.deadline() - now);
  }

  void pass(Duration time) {
    now += time.toNanos();
  }

  void stop() {
    follow(engine.stopping());
  }

  /** Ends the connection from outside. */
  void end(End how) {
    assertFalse(ended, "the connection has ended already");
    link.moveToSpareThread(true);
    ended = true;
    engine.ended(how, null);
  }

  void hangUp() {
    end(End.PEER_CLOSED);
  }

  Wish wish() {
    return wish;
  }

  boolean isClosed() {
    return ended;
  }

  /** Returns what was reported since the last call. */
  List<String> reports() {
    List<String> lines = List.copyOf(reports);
    reports.clear();
    return lines;
  }

  private void follow(Wish next) {
    wish = next;
    while (wish == Wish.MOVE) {
      link.moveToSpareThread(true);
      wish = engine.receive(rest, now);
      link.moveToSpareThread(false);
    }
    if (wish == Wish.READ) {
      assertFalse(rest.hasRemaining(), "input is left over although more is wanted");
    } else if (wish == Wish.CLOSE) {
      end(End.CLOSED_HERE);
    }
  }

  static byte[] bytes(String... packets) {
    ByteArrayOutputStream bytes = new ByteArrayOutputStream();
    for (String packet : packets) {
      assertNotEquals("", packet, "a packet has at least a code");
      byte[] text = packet.replace('|', '\0').getBytes(StandardCharsets.ISO_8859_1);
      bytes.writeBytes(ByteBuffer.allocate(4).putInt(text.length).array());
      bytes.writeBytes(text);
    }
    return bytes.toByteArray();
  }

  /** Keeps what the listener hears, a line each. */
  private final class Reporter implements ServerListener {
    @Override
    public void probed(ConnectionInfo connection, String what) {
      reports.add("closed: " + what);
    }

    @Override
    public void closed(ConnectionInfo connection, Throwable error) {
      reports.add("closed" + (error == null ? "" : " " + category(error)));
    }

    @Override
    public void violated(ConnectionInfo connection, MilterException error) {
      reports.add("violated " + category(error));
    }

    @Override
    public void failed(ConnectionInfo connection, EventType type, Event event, Throwable error) {
      reports.add("failed " + type + " " + category(error));
    }

    private static String category(Throwable error) {
      return error instanceof MilterException known
          ? known.category().name()
          : error.getClass().getSimpleName();
    }
  }
}
