package temse.protocol;

import clojure.lang.IPersistentMap;
import clojure.lang.PersistentArrayMap;
import clojure.lang.PersistentVector;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalInt;
import java.util.Set;

/**
 * What an MTA reports, or temse itself: an immutable view of an event map, of a class for each type
 * of event, with its keys as methods.
 *
 * <pre>{@code
 * Event event = new Event.Header("Subject", "hi", 1);
 * if (event instanceof Event.Header header && header.name().equalsIgnoreCase("Subject")) { ... }
 * }</pre>
 *
 * <p>Constructors throw a {@link MilterException} BAD_ACTION if a text is null, or could not
 * travel. Addresses and ESMTP parameters are as the SMTP client has written them.
 */
public abstract sealed class Event extends MapView {
  private static final Map<Class<?>, EventType> TYPES = new HashMap<>();

  static {
    for (EventType type : EventType.values()) {
      TYPES.put(view(type, PersistentArrayMap.EMPTY).getClass(), type);
    }
  }

  private final EventType type;

  private Event(EventType type, IPersistentMap map) {
    super(Keys.EVENT, map);
    this.type = type;
  }

  /**
   * {@return the view of an event map}
   *
   * @param map as in {@code doc/spec.org}
   * @throws MilterException BAD_ACTION if it is none, or lacks a key
   */
  public static Event of(IPersistentMap map) {
    EventType type = EventType.ofKeyword(map.valAt(Keys.EVENT));
    if (type == null) {
      throw new MilterException(
          MilterException.Category.BAD_ACTION, "the map is no event: its key event names none");
    }
    return view(type, checked(type, map));
  }

  /**
   * {@return the view of an event map that a codec has made}
   *
   * @param type of the event
   * @param map with the keys and types that the codec makes
   */
  public static Event view(EventType type, IPersistentMap map) {
    return switch (type) {
      case OPTIONS -> new Options(map);
      case DEFINE_MACRO -> new DefineMacro(map);
      case CONNECT -> new Connect(map);
      case HELLO -> new Hello(map);
      case MAIL -> new Mail(map);
      case RECIPIENT -> new Recipient(map);
      case DATA -> new Data(map);
      case HEADER -> new Header(map);
      case END_OF_HEADERS -> new EndOfHeaders(map);
      case BODY -> new Body(map);
      case END_OF_MESSAGE -> new EndOfMessage(map);
      case ABORT -> new Abort(map);
      case UNKNOWN -> new Unknown(map);
      case QUIT -> new Quit(map);
      case DISCONNECT -> new Disconnect(map);
      case MESSAGE_END -> new MessageEnd(map);
    };
  }

  /**
   * {@return the type of the events of a class}
   *
   * @param events such as {@code Event.Header.class}
   * @throws IllegalArgumentException for Event itself
   */
  public static EventType type(Class<? extends Event> events) {
    EventType type = TYPES.get(events);
    if (type == null) {
      throw new IllegalArgumentException("name one kind of event, Event.Header.class for example");
    }
    return type;
  }

  private static IPersistentMap made(EventType type, Object... keysAndValues) {
    return checked(type, EventCodec.event(type, keysAndValues));
  }

  private static IPersistentMap checked(EventType type, IPersistentMap map) {
    try {
      EventCodec.check(type, map);
      return map;
    } catch (MilterException e) {
      throw e.inJava();
    }
  }

  /** {@return the type} */
  public EventType type() {
    return type;
  }

  /** {@code SMFIC_OPTNEG}: what the MTA offers in the negotiation. */
  public static final class Options extends Event {
    private Options(IPersistentMap map) {
      super(EventType.OPTIONS, map);
    }

    /** {@return the protocol version} */
    public int version() {
      return number(Keys.VERSION);
    }

    /** {@return the actions that are offered} */
    public Set<ActionFlag> actions() {
      return ActionFlag.ofMask(number(Keys.ACTION_MASK));
    }

    /** {@return the flags that are offered} */
    public Set<ProtocolFlag> protocol() {
      return ProtocolFlag.ofMask(number(Keys.PROTOCOL_MASK));
    }
  }

  /** {@code SMFIC_MACRO}: macros for the command that follows. */
  public static final class DefineMacro extends Event {
    private DefineMacro(IPersistentMap map) {
      super(EventType.DEFINE_MACRO, map);
    }

    /** {@return the event that the macros are for, empty if it is none that temse knows} */
    public Optional<EventType> stage() {
      return Optional.ofNullable(EventType.ofKeyword(map().valAt(Keys.STAGE)));
    }

    /** {@return the macros by name, without braces} */
    @SuppressWarnings("unchecked")
    public Map<String, String> definitions() {
      return (Map<String, String>) map().valAt(Keys.DEFINITIONS);
    }
  }

  /** {@code SMFIC_CONNECT}: an SMTP client has connected. */
  public static final class Connect extends Event {
    private Connect(IPersistentMap map) {
      super(EventType.CONNECT, map);
    }

    /**
     * Makes one of a client whose family is not {@link AddressFamily#UNKNOWN}.
     *
     * @param hostName a name of DNS, or the address in brackets
     * @param family inet, inet6 or unix
     * @param port of the client, 0 for none
     * @param address in numbers, or the path of a socket
     */
    public Connect(String hostName, AddressFamily family, int port, String address) {
      this(
          made(
              EventType.CONNECT,
              Keys.HOST_NAME,
              hostName,
              Keys.FAMILY,
              family.keyword,
              Keys.PORT,
              (long) port,
              Keys.ADDRESS,
              address));
    }

    /**
     * Makes one of a client whose address the MTA does not know.
     *
     * @param hostName a name, such as {@code localhost}
     */
    public Connect(String hostName) {
      this(
          made(
              EventType.CONNECT,
              Keys.HOST_NAME,
              hostName,
              Keys.FAMILY,
              AddressFamily.UNKNOWN.keyword));
    }

    /** {@return the client's name, or its address in brackets} */
    public String hostName() {
      return string(Keys.HOST_NAME);
    }

    /** {@return the client's address family} */
    public AddressFamily family() {
      return AddressFamily.ofKeyword(map().valAt(Keys.FAMILY));
    }

    /** {@return the client's port, empty where its family is unknown} */
    public OptionalInt port() {
      return map().valAt(Keys.PORT) == null
          ? OptionalInt.empty()
          : OptionalInt.of(number(Keys.PORT));
    }

    /** {@return the client's address, empty where its family is unknown} */
    public Optional<String> address() {
      return Optional.ofNullable(string(Keys.ADDRESS));
    }
  }

  /** {@code SMFIC_HELO}: HELO or EHLO. */
  public static final class Hello extends Event {
    private Hello(IPersistentMap map) {
      super(EventType.HELLO, map);
    }

    /**
     * Makes one with the argument of HELO or EHLO.
     *
     * @param greeting usually a host name
     */
    public Hello(String greeting) {
      this(made(EventType.HELLO, Keys.GREETING, greeting));
    }

    /** {@return the argument of HELO or EHLO} */
    public String greeting() {
      return string(Keys.GREETING);
    }
  }

  /** {@code SMFIC_MAIL}: MAIL FROM, which begins a message. */
  public static final class Mail extends Event {
    private Mail(IPersistentMap map) {
      super(EventType.MAIL, map);
    }

    /**
     * Makes one of a sender with angle brackets.
     *
     * @param sender such as {@code <ann@example.org>} or {@code <>}
     * @param parameters of ESMTP, such as {@code SIZE=1000}
     */
    public Mail(String sender, String... parameters) {
      this(
          made(
              EventType.MAIL,
              Keys.SENDER,
              sender,
              Keys.OPTIONS,
              PersistentVector.create((Object[]) parameters)));
    }

    /** {@return the sender, with angle brackets as it came} */
    public String sender() {
      return string(Keys.SENDER);
    }

    /** {@return the ESMTP parameters} */
    public List<String> parameters() {
      return strings(Keys.OPTIONS);
    }
  }

  /** {@code SMFIC_RCPT}: RCPT TO. */
  public static final class Recipient extends Event {
    private Recipient(IPersistentMap map) {
      super(EventType.RECIPIENT, map);
    }

    /**
     * Makes one of an address with angle brackets.
     *
     * @param address such as {@code <bob@example.com>}
     * @param parameters of ESMTP, such as {@code NOTIFY=NEVER}
     */
    public Recipient(String address, String... parameters) {
      this(
          made(
              EventType.RECIPIENT,
              Keys.ADDRESS,
              address,
              Keys.OPTIONS,
              PersistentVector.create((Object[]) parameters)));
    }

    /** {@return the address, with angle brackets as it came} */
    public String address() {
      return string(Keys.ADDRESS);
    }

    /** {@return the ESMTP parameters} */
    public List<String> parameters() {
      return strings(Keys.OPTIONS);
    }
  }

  /** {@code SMFIC_DATA}: DATA, since protocol version 4. */
  public static final class Data extends Event {
    private Data(IPersistentMap map) {
      super(EventType.DATA, map);
    }

    /** Makes one. */
    public Data() {
      this(made(EventType.DATA));
    }
  }

  /** {@code SMFIC_HEADER}: one header field. */
  public static final class Header extends Event {
    private Header(IPersistentMap map) {
      super(EventType.HEADER, map);
    }

    /**
     * Makes one.
     *
     * @param name without the colon
     * @param value folds kept, lines separated by LF
     * @param index which field of its name it is, from 1
     */
    public Header(String name, String value, int index) {
      this(made(EventType.HEADER, Keys.NAME, name, Keys.VALUE, value, Keys.INDEX, (long) index));
    }

    /** {@return the name, without the colon} */
    public String name() {
      return string(Keys.NAME);
    }

    /** {@return the value; folds are kept, lines are separated by LF} */
    public String value() {
      return string(Keys.VALUE);
    }

    /** {@return which field of its name it is, from 1} */
    public int index() {
      return number(Keys.INDEX);
    }
  }

  /** {@code SMFIC_EOH}: the end of the header. */
  public static final class EndOfHeaders extends Event {
    private EndOfHeaders(IPersistentMap map) {
      super(EventType.END_OF_HEADERS, map);
    }

    /** Makes one. */
    public EndOfHeaders() {
      this(made(EventType.END_OF_HEADERS));
    }
  }

  /** {@code SMFIC_BODY}: a piece of the body. */
  public static final class Body extends Event {
    private Body(IPersistentMap map) {
      super(EventType.BODY, map);
    }

    /**
     * Makes one of bytes that are not changed afterwards.
     *
     * @param data a piece of the body
     */
    public Body(byte[] data) {
      this(made(EventType.BODY, Keys.DATA, data));
    }

    /** {@return the bytes; not to be changed} */
    public byte[] data() {
      return (byte[]) map().valAt(Keys.DATA);
    }
  }

  /** {@code SMFIC_BODYEOB}: the end of the message, which may be answered by changes. */
  public static final class EndOfMessage extends Event {
    private EndOfMessage(IPersistentMap map) {
      super(EventType.END_OF_MESSAGE, map);
    }

    /** Makes one. */
    public EndOfMessage() {
      this(made(EventType.END_OF_MESSAGE));
    }
  }

  /** {@code SMFIC_ABORT}: the message is dropped. */
  public static final class Abort extends Event {
    private Abort(IPersistentMap map) {
      super(EventType.ABORT, map);
    }

    /**
     * Makes one of a message that has reached an event.
     *
     * @param at the last event of the message
     */
    public Abort(EventType at) {
      this(made(EventType.ABORT, Keys.AT, at.keyword));
    }

    /** {@return the event that the message had reached} */
    public EventType at() {
      return EventType.ofKeyword(map().valAt(Keys.AT));
    }
  }

  /** {@code SMFIC_UNKNOWN}: an SMTP command that the MTA does not know. */
  public static final class Unknown extends Event {
    private Unknown(IPersistentMap map) {
      super(EventType.UNKNOWN, map);
    }

    /**
     * Makes one of a command line.
     *
     * @param command a line without its end
     */
    public Unknown(String command) {
      this(made(EventType.UNKNOWN, Keys.COMMAND, command));
    }

    /** {@return the command line} */
    public String command() {
      return string(Keys.COMMAND);
    }
  }

  /** {@code SMFIC_QUIT}: the MTA ends the connection. */
  public static final class Quit extends Event {
    private Quit(IPersistentMap map) {
      super(EventType.QUIT, map);
    }

    /** Makes one. */
    public Quit() {
      this(made(EventType.QUIT));
    }
  }

  /** The SMTP client is gone; comes once for each client, whatever ended it. */
  public static final class Disconnect extends Event {
    private Disconnect(IPersistentMap map) {
      super(EventType.DISCONNECT, map);
    }

    /**
     * Makes one.
     *
     * @param reason why the client is gone
     */
    public Disconnect(DisconnectReason reason) {
      this(made(EventType.DISCONNECT, Keys.REASON, reason.keyword));
    }

    /** {@return why it is gone} */
    public DisconnectReason reason() {
      return DisconnectReason.ofKeyword(map().valAt(Keys.REASON));
    }
  }

  /** A message has ended; comes once for each message, whatever ended it. */
  public static final class MessageEnd extends Event {
    private MessageEnd(IPersistentMap map) {
      super(EventType.MESSAGE_END, map);
    }

    /**
     * Makes one of a message that has reached an event.
     *
     * @param reason why it has ended
     * @param at the last event of the message
     */
    public MessageEnd(MessageEndReason reason, EventType at) {
      this(made(EventType.MESSAGE_END, Keys.REASON, reason.keyword, Keys.AT, at.keyword));
    }

    /** {@return why it has ended} */
    public MessageEndReason reason() {
      return MessageEndReason.ofKeyword(map().valAt(Keys.REASON));
    }

    /** {@return the event that it had reached} */
    public EventType at() {
      return EventType.ofKeyword(map().valAt(Keys.AT));
    }
  }
}
