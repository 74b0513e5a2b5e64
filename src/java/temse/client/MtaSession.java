package temse.client;

import clojure.lang.IPersistentMap;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;
import temse.client.AnswerReader.Answer;
import temse.protocol.Action;
import temse.protocol.AddressFamily;
import temse.protocol.Event;
import temse.protocol.EventCodec;
import temse.protocol.EventType;
import temse.protocol.Keys;
import temse.protocol.MilterException;
import temse.protocol.MtaDialogue;
import temse.protocol.Packet;
import temse.protocol.ProtocolFlag;
import temse.protocol.Text;

/**
 * The MTA's side of one milter connection: sends events with their macros, keeps to what was agreed
 * and reads the answers.
 *
 * <pre>{@code
 * try (MtaSession mta = MtaClient.connect(Endpoint.parse("inet:20025@127.0.0.1"))) {
 *   mta.sendEvent(new Event.Hello("client.example.org"));
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
          AddressFamily.INET.keyword,
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
  private final int protocol;
  private final AnswerReader reader;
  private final Delivery delivery;
  private MilterException failure;
  private boolean introduced;
  private boolean greeted;
  private boolean open = true;

  MtaSession(Wire wire, MtaOptions options) throws IOException {
    this.wire = wire;
    this.options = options;
    this.macros = new MacroSource(options);
    this.limits = new AnswerLimits(options.timeouts());
    this.delivery = new Delivery(this);
    try {
      wire.write(options.offer().packet().toBytes());
      Packet packet = limits.read(wire, EventType.OPTIONS);
      if (packet == null) {
        throw new IOException("the milter closed the connection instead of answering the offer");
      }
      this.answer = checkedAnswer(packet);
    } catch (IOException | RuntimeException e) {
      wire.close();
      throw e;
    }
    this.version = ((Number) answer.valAt(Keys.VERSION)).intValue();
    this.protocol = ((Number) answer.valAt(Keys.PROTOCOL_MASK)).intValue();
    if (answer.valAt(Keys.MACROS) instanceof Map<?, ?> lists) {
      macros.requested(lists);
    }
    int actions = ((Number) answer.valAt(Keys.ACTION_MASK)).intValue();
    this.reader = new AnswerReader(wire, options, actions, limits);
  }

  /** {@return the milter's answer to the offer, as an {@code :options} map} */
  public IPersistentMap agreement() {
    return answer;
  }

  /** {@return the options} */
  public MtaOptions options() {
    return options;
  }

  /** Sends no macros from now on but those that are given as events. */
  public void withoutMacros() {
    macros.silence();
  }

  /**
   * Gives a macro a value from now on, as when the client has authenticated: it is sent at the
   * stages whose lists name it.
   *
   * @param name bare or in braces
   * @param value which wins over the one that the options have
   * @return false if no list names it
   */
  public boolean define(String name, String value) {
    return macros.define(name, value);
  }

  /** {@return the queue id of the message that was begun last} */
  public String queueId() {
    return macros.queueId();
  }

  /**
   * {@return true if the milter agreed to the flag}
   *
   * @param flag such as {@code NO_BODY}
   */
  public boolean agreed(ProtocolFlag flag) {
    return (protocol & flag.mask) != 0;
  }

  /**
   * {@return true if the milter wants the event and its version has it}
   *
   * @param type of the event
   */
  public boolean wanted(EventType type) {
    return version >= type.sinceVersion
        && (type.suppressedBy == null || !agreed(type.suppressedBy));
  }

  /**
   * {@return true if the milter answers the event}
   *
   * @param type of the event
   */
  public boolean owesReply(EventType type) {
    return type.owesReply() && (type.noReplyBy == null || !agreed(type.noReplyBy));
  }

  /**
   * Sends an event, its macros before it.
   *
   * @param event a map as in {@code doc/spec.org}
   * @return what answers it, the reply last; empty if the milter does not want the event or owes no
   *     reply
   * @throws IOException if the milter closes the connection or does not answer in time
   * @throws MilterException if the MTA would do without the milter after its answer
   */
  public List<IPersistentMap> send(IPersistentMap event) throws IOException {
    List<IPersistentMap> actions = exchange(event).actions();
    if (failure != null) {
      throw failure;
    }
    return actions;
  }

  /**
   * Sends an event like {@link #send(IPersistentMap)}.
   *
   * @param event such as {@code new Event.Hello("mail.example.org")}
   * @return what answers it
   * @throws IOException if the milter closes the connection or does not answer in time
   */
  public List<Action> sendEvent(Event event) throws IOException {
    try {
      return send(event.map()).stream().map(Action::view).toList();
    } catch (MilterException e) {
      throw e.inJava();
    }
  }

  /** Sends an event, its macros before it, and returns what this MTA makes of what answers it. */
  Answer exchange(IPersistentMap event) throws IOException {
    EventType type = type(event);
    if (failure == null) {
      if (wanted(type)) {
        checkSurplus(type);
      }
      sendAhead(event);
    }
    return answer(type);
  }

  /** Remarks that the milter has sent more than it was asked for. */
  void checkSurplus(EventType next) throws IOException {
    if (open) {
      reader.checkSurplus(next);
    }
  }

  /** {@return what was remarked since the last call, see {@link #deliver}} */
  List<IPersistentMap> takeRemarks() {
    return reader.takeRemarks();
  }

  /** Sends an event, its macros before it, and does not wait for what answers it. */
  void sendAhead(IPersistentMap event) throws IOException {
    EventType type = type(event);
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
      write(type, bytes.toByteArray());
    }
  }

  private void write(EventType type, byte[] bytes) throws IOException {
    try {
      wire.write(bytes);
    } catch (IOException e) {
      drop();
      throw owesReply(type) ? reader.unanswered(type, e) : e;
    }
  }

  /** {@return what answers an event that was sent; an answer that is late or wrong is the last} */
  Answer answer(EventType type) throws IOException {
    if (failure != null) {
      return inItsPlace(type);
    }
    if (!wanted(type) || !owesReply(type)) {
      return learnt(type, Answer.NONE);
    }
    try {
      Answer answer = reader.read(type);
      if (answer.failure() != null) {
        failure = answer.failure();
        drop();
      }
      return learnt(type, answer);
    } catch (IOException | MilterException e) {
      drop();
      throw e;
    }
  }

  /** {@return the answer of the MTA to what a milter would be asked that it does without} */
  private Answer inItsPlace(EventType type) {
    IPersistentMap reply = (IPersistentMap) failure.getData().valAt(Keys.REPLY);
    return type.owesReply() && type != EventType.UNKNOWN
        ? new Answer(List.of(reply), null)
        : Answer.NONE;
  }

  private Answer learnt(EventType type, Answer answer) {
    if (type == EventType.RECIPIENT && !MtaDialogue.refuses(answer.reply())) {
      macros.recipientAccepted();
    }
    return answer;
  }

  /**
   * Opens an SMTP connection.
   *
   * @param connect a {@code :connect} event
   * @param greeting the argument of HELO, or null for none
   * @throws IOException if the milter closes the connection or does not answer in time
   */
  public void greet(IPersistentMap connect, @Nullable String greeting) throws IOException {
    introduced = true;
    delivery.greet(connect, greeting);
  }

  /**
   * Sends a message and returns a report: {@code :verdict} ({@code :accept}, {@code :reject},
   * {@code :temporary-failure} or {@code :discard}), {@code :at} (the event that settled it),
   * {@code :reply}, {@code :modifications}, {@code :recipients} (replies by address) and {@code
   * :conversation} (a vector of {@code {:event ... :response [...] :nanos ...}}).
   *
   * <p>What the milter answers is read as this MTA reads it. Where the protocol does not say so,
   * the report has {@code :remarks}, a vector of {@code {:remark :event :action :text}}, and the
   * response holds what the MTA makes of the answer. The {@code :remark} is {@code :mixed-body},
   * {@code :carriage-return}, {@code :early-quarantine}, {@code :not-agreed}, {@code
   * :malformed-reply}, {@code :surplus-reply}, {@code :bogus-answer} or {@code :no-reply}; after
   * some of them the MTA defers the mail and does without the milter: the connection is closed
   * then.
   *
   * <p>Where the options ask for faults, a connection that dies is no exception: {@code :verdict}
   * is nil, {@code :closed-by} is {@code :milter} or {@code :mta}, and {@code :problem} says how.
   *
   * <p>The SMTP connection is opened with a client of 192.0.2.1 unless {@link #greet} has done so.
   *
   * @param mail what is sent
   * @return the report
   * @throws IOException if the milter closes the connection or does not answer in time
   */
  public IPersistentMap deliver(Mail mail) throws IOException {
    if (!introduced) {
      greet(CLIENT, "client.example.org");
    }
    return delivery.deliver(mail);
  }

  /**
   * Sends a message and returns a report, as {@link #deliver} does.
   *
   * <pre>{@code
   * MessageReport report =
   *     mta.sendMessage("<a@example.org>", List.of("<b@example.com>"), "Subject: hi\n\nhello\n");
   * }</pre>
   *
   * @param sender as in MAIL FROM, with angle brackets
   * @param recipients as in RCPT TO, with angle brackets
   * @param message header fields, an empty line and the body, with LF or CR LF line ends
   * @return the report
   * @throws IOException if the milter closes the connection or does not answer in time
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

  /**
   * Closes the connection without a word.
   *
   * @throws IOException if the socket cannot be closed
   */
  public void drop() throws IOException {
    open = false;
    wire.close();
  }

  /** {@return true until the connection has ended} */
  public boolean isOpen() {
    return open;
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

  static EventType type(IPersistentMap event) {
    return EventType.ofKeyword(event.valAt(Keys.EVENT));
  }
}
