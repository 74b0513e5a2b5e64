package temse.client;

import clojure.lang.IPersistentMap;
import clojure.lang.Keyword;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import temse.protocol.ActionCodec;
import temse.protocol.ActionFlag;
import temse.protocol.ActionType;
import temse.protocol.EventCodec;
import temse.protocol.EventType;
import temse.protocol.Keys;
import temse.protocol.MilterException;
import temse.protocol.Packet;
import temse.protocol.ProtocolFlag;
import temse.protocol.Text;

/**
 * The MTA's side of one milter connection: sends events with their macros, keeps to what was agreed
 * and reads the answers.
 *
 * <pre>{@code
 * try (MtaSession mta = MtaClient.connect(Endpoint.parse("inet:20025@127.0.0.1"))) {
 *   mta.send(EventCodec.event(EventType.HELLO, Keys.GREETING, "client.example.org"));
 * }
 * }</pre>
 */
public final class MtaSession implements AutoCloseable {
  private static final IPersistentMap CLIENT =
      EventCodec.event(
          EventType.CONNECT,
          Keys.HOST_NAME,
          "client.example.org",
          Keys.FAMILY,
          Keyword.intern("inet"),
          Keys.PORT,
          40110L,
          Keys.ADDRESS,
          "192.0.2.1");

  private final Wire wire;
  private final MtaOptions options;
  private final MacroSource macros;
  private final AnswerLimits limits;
  private final IPersistentMap answer;
  private final int version;
  private final int actions;
  private final int protocol;
  private IPersistentMap connect;
  private MessagePlayer refusal;
  private List<IPersistentMap> opening = List.of();
  private boolean greeted;
  private boolean open = true;

  MtaSession(Wire wire, MtaOptions options) throws IOException {
    this.wire = wire;
    this.options = options;
    this.macros = new MacroSource(options);
    this.limits = new AnswerLimits(options.timeouts());
    try {
      wire.write(options.offer().packet().toBytes());
      Packet packet = wire.read(limits.patience(EventType.OPTIONS));
      if (packet == null) {
        throw new IOException("the milter closed the connection instead of answering the offer");
      }
      this.answer = checkedAnswer(packet);
    } catch (IOException | RuntimeException e) {
      wire.close();
      throw e;
    }
    this.version = ((Number) answer.valAt(Keys.VERSION)).intValue();
    this.actions = ((Number) answer.valAt(Keys.ACTION_MASK)).intValue();
    this.protocol = ((Number) answer.valAt(Keys.PROTOCOL_MASK)).intValue();
    if (answer.valAt(Keys.MACROS) instanceof Map<?, ?> lists) {
      macros.requested(lists);
    }
  }

  /** Returns the milter's answer to the offer, as an {@code :options} map. */
  public IPersistentMap agreement() {
    return answer;
  }

  /** Returns the options. */
  public MtaOptions options() {
    return options;
  }

  /** Returns true if the milter agreed to the flag. */
  public boolean agreed(ProtocolFlag flag) {
    return (protocol & flag.mask) != 0;
  }

  /** Returns true if the milter wants to hear of the event and its version has it. */
  public boolean wanted(EventType type) {
    return version >= type.sinceVersion
        && (type.suppressedBy == null || !agreed(type.suppressedBy));
  }

  /** Returns true if the milter answers the event. */
  public boolean owesReply(EventType type) {
    return type.owesReply() && (type.noReplyBy == null || !agreed(type.noReplyBy));
  }

  /**
   * Sends an event, its macros before it, and returns what answers it: the reply last; empty if the
   * milter does not want the event or owes no reply.
   *
   * @throws IOException if the milter closes the connection or does not answer in time
   * @throws MilterException if the answer breaks the protocol or the agreement
   */
  public List<IPersistentMap> send(IPersistentMap event) throws IOException {
    tell(event);
    return answer(EventType.ofKeyword(event.valAt(Keys.EVENT)));
  }

  /** Sends an event, its macros before it, and does not wait for what answers it. */
  void tell(IPersistentMap event) throws IOException {
    EventType type = EventType.ofKeyword(event.valAt(Keys.EVENT));
    Packet packet = EventCodec.encode(event);
    macros.learn(type, event);
    limits.sent(type);
    greeted |= type == EventType.HELLO;
    ByteArrayOutputStream bytes = new ByteArrayOutputStream();
    IPersistentMap definitions = macros.before(type);
    boolean ofContent = type.compareTo(EventType.HEADER) >= 0;
    if (definitions != null && (wanted(type) || !ofContent && version >= type.sinceVersion)) {
      bytes.writeBytes(EventCodec.encode(definitions).toBytes());
    }
    if (wanted(type)) {
      bytes.writeBytes(packet.toBytes());
    }
    if (bytes.size() > 0) {
      write(bytes.toByteArray());
    }
  }

  private void write(byte[] bytes) throws IOException {
    try {
      wire.write(bytes);
    } catch (IOException e) {
      drop();
      throw e;
    }
  }

  /** Returns what answers an event that was sent. */
  List<IPersistentMap> answer(EventType type) throws IOException {
    List<IPersistentMap> response = wanted(type) && owesReply(type) ? response(type) : List.of();
    if (type == EventType.RECIPIENT && accepted(response)) {
      macros.recipientAccepted();
    }
    return response;
  }

  /**
   * Opens an SMTP connection.
   *
   * @param connect a {@code :connect} event
   * @param greeting the argument of HELO, or null for none
   */
  public void greet(IPersistentMap connect, String greeting) throws IOException {
    this.connect = connect;
    MessagePlayer player = new MessagePlayer(this);
    refusal = player.greet(connect, greeting) ? null : player;
    if (refusal == null) {
      opening = player.conversation();
    }
  }

  /**
   * Sends a message and returns what became of it: {@code :verdict} ({@code :accept}, {@code
   * :reject}, {@code :temporary-failure} or {@code :discard}), {@code :at} (the event that settled
   * it), {@code :reply}, {@code :modifications}, {@code :recipients} (replies by address) and
   * {@code :conversation} (a vector of {@code {:event ... :response [...] :nanos ...}}).
   *
   * <p>Where the options ask for faults, a connection that dies is no exception: {@code :verdict}
   * is nil, {@code :closed-by} is {@code :milter} or {@code :mta}, and {@code :problem} tells how.
   *
   * <p>The SMTP connection is opened with a client of 192.0.2.1 unless {@link #greet} has done so.
   */
  public IPersistentMap deliver(Mail mail) throws IOException {
    if (connect == null) {
      greet(CLIENT, "client.example.org");
    }
    MessagePlayer player = refusal;
    if (player == null) {
      player = new MessagePlayer(this, opening);
      opening = List.of();
      player.play(mail);
    }
    return player.report();
  }

  /**
   * Sends a message and returns what became of it, as {@link #deliver} does.
   *
   * <pre>{@code
   * MessageReport report =
   *     mta.sendMessage("<a@example.org>", List.of("<b@example.com>"), "Subject: hi\n\nhello\n");
   * }</pre>
   *
   * @param sender as in MAIL FROM, with angle brackets
   * @param recipients as in RCPT TO, with angle brackets
   * @param message header fields, an empty line and the body, with LF or CR LF line ends
   */
  public MessageReport sendMessage(String sender, List<String> recipients, String message)
      throws IOException {
    return MessageReport.of(deliver(Mail.parse(sender, recipients, Text.encode(message))));
  }

  /** Ends the connection as the MTA of this style does. */
  @Override
  public void close() throws IOException {
    if (!open) {
      return;
    }
    open = false;
    try {
      ByteArrayOutputStream goodbye = new ByteArrayOutputStream();
      if (greeted && options.style() == MtaStyle.POSTFIX) {
        goodbye.writeBytes(new Packet('A').toBytes());
      }
      goodbye.writeBytes(new Packet('Q').toBytes());
      wire.write(goodbye.toByteArray());
    } catch (IOException e) {
      return;
    } finally {
      wire.close();
    }
  }

  /** Closes the connection without a word. */
  public void drop() throws IOException {
    open = false;
    wire.close();
  }

  /** Returns true until the connection has ended. */
  public boolean isOpen() {
    return open;
  }

  /** Returns what answers an event; an answer that is late or wrong ends the connection. */
  private List<IPersistentMap> response(EventType type) throws IOException {
    try {
      return checkedResponse(type);
    } catch (IOException | MilterException e) {
      drop();
      throw e;
    }
  }

  private List<IPersistentMap> checkedResponse(EventType type) throws IOException {
    List<IPersistentMap> response = new ArrayList<>();
    while (true) {
      Packet packet = wire.read(limits.patience(type));
      if (packet == null) {
        throw new IOException("the milter closed the connection at " + type.keyword);
      }
      IPersistentMap action = ActionCodec.decode(packet);
      ActionType given = ActionCodec.type(action);
      check(type, given, action);
      if (given == ActionType.REPLY_CODE) {
        checkReplyText(packet, action);
      }
      if (limits.keeps(packet)) {
        response.add(action);
      }
      if (given.kind == ActionType.Kind.REPLY) {
        return response;
      }
    }
  }

  private void check(EventType event, ActionType type, IPersistentMap action) {
    if (type.kind != ActionType.Kind.MODIFICATION) {
      return;
    }
    if (event != EventType.END_OF_MESSAGE) {
      throw new MilterException(
          MilterException.Category.REPLY_NOT_ALLOWED,
          "the milter sent " + type.keyword + " at " + event.keyword,
          Keys.ACTION,
          action);
    }
    ActionFlag flag = ActionCodec.flag(type, action);
    if (flag != null && (actions & flag.mask) == 0) {
      throw new MilterException(
          MilterException.Category.ACTION_NOT_NEGOTIATED,
          "the milter sent " + type.keyword + " without having asked for " + flag.keyword,
          Keys.ACTION,
          action);
    }
  }

  /** A reply text is good if it is what we would have made of it; a last space may be missing. */
  private static void checkReplyText(Packet packet, IPersistentMap action) {
    StringBuilder good = new StringBuilder();
    try {
      ActionCodec.encode(
          action,
          (code, bytes, offset, length) ->
              good.append(withoutLastSpace(Arrays.copyOfRange(bytes, offset, offset + length))));
    } catch (MilterException e) {
      throw badReply(e.getMessage(), e);
    }
    String text = withoutLastSpace(packet.payload());
    if (!text.contentEquals(good)) {
      throw badReply("the lines of its text do not agree, or a % is not doubled", null);
    }
  }

  private static String withoutLastSpace(byte[] reply) {
    return Text.decode(reply).replace(" \0", "\0");
  }

  private static MilterException badReply(String problem, Throwable cause) {
    return new MilterException(
        MilterException.Category.MALFORMED_PACKET,
        "the milter's reply code is bad: " + problem,
        cause);
  }

  private IPersistentMap checkedAnswer(Packet packet) {
    if (packet.code() != EventType.OPTIONS.code) {
      throw badAnswer("its first packet is '" + (char) packet.code() + "'");
    }
    IPersistentMap map = EventCodec.decode(packet);
    int unoffered =
        ((Number) map.valAt(Keys.ACTION_MASK)).intValue() & ~options.offer().effectiveActions();
    if (unoffered != 0) {
      throw badAnswer(
          "it wants actions that were not offered: 0x" + Integer.toHexString(unoffered));
    }
    boolean tooNew = ((Number) map.valAt(Keys.VERSION)).intValue() > options.offer().version();
    if (tooNew && options.style() == MtaStyle.POSTFIX) {
      throw badAnswer("its version is higher than the one offered");
    }
    return map;
  }

  private static MilterException badAnswer(String problem) {
    return new MilterException(
        MilterException.Category.MALFORMED_PACKET,
        "the milter's answer to the offer is bad: " + problem);
  }

  private static boolean accepted(List<IPersistentMap> response) {
    if (response.isEmpty()) {
      return true;
    }
    ActionType verdict = ActionCodec.verdict(response.get(response.size() - 1));
    return verdict != ActionType.REJECT && verdict != ActionType.TEMPORARY_FAILURE;
  }
}
