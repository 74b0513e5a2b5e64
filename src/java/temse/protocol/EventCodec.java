package temse.protocol;

import clojure.lang.IPersistentMap;
import clojure.lang.IPersistentVector;
import clojure.lang.Keyword;
import clojure.lang.PersistentArrayMap;
import clojure.lang.PersistentHashSet;
import clojure.lang.PersistentVector;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.function.Function;
import java.util.function.IntFunction;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;

/**
 * Event maps and the packets that carry them, in both directions.
 *
 * <p>An MTA's packets are decoded by the milter and encoded by the MTA side. Event maps and their
 * keys are described in {@code doc/spec.org}.
 */
public final class EventCodec {
  private static final String IPV6_PREFIX = "IPv6:";
  private static final long MAXIMUM_INT = 0xFFFFFFFFL;
  private static final long MAXIMUM_PORT = 0xFFFF;

  private EventCodec() {}

  /**
   * {@return the type of the packet}
   *
   * @param packet as an MTA sends it
   * @throws MilterException MALFORMED_PACKET for a command byte that the protocol does not have
   */
  public static EventType type(Packet packet) {
    EventType type = EventType.ofCode(packet.code());
    if (type == null) {
      throw new PayloadReader(packet).malformed("there is no such command");
    }
    return type;
  }

  /**
   * {@return the event map of a packet from an MTA}
   *
   * @param packet as an MTA sends it
   * @throws MilterException MALFORMED_PACKET, with the command and the offset
   */
  public static IPersistentMap decode(Packet packet) {
    EventType type = type(packet);
    PayloadReader reader = new PayloadReader(packet);
    return switch (type) {
      case OPTIONS -> decodeOptions(reader);
      case DEFINE_MACRO -> decodeMacros(reader);
      case CONNECT -> decodeConnect(reader);
      case HELLO -> event(type, Keys.GREETING, reader.readLastString("the greeting"));
      case MAIL -> decodeAddress(type, Keys.SENDER, reader);
      case RECIPIENT -> decodeAddress(type, Keys.ADDRESS, reader);
      case HEADER ->
          event(
              type,
              Keys.NAME,
              reader.readName("the header name"),
              Keys.VALUE,
              reader.readLastString("the header value"));
      case BODY -> event(type, Keys.DATA, packet.payload());
      case END_OF_MESSAGE ->
          packet.payload().length == 0 ? event(type) : event(type, Keys.DATA, packet.payload());
      case UNKNOWN -> event(type, Keys.COMMAND, reader.readLastString("the command"));
      default -> event(type);
    };
  }

  /**
   * {@return the packet of an event map, as an MTA would send it}
   *
   * @param event a map as in {@code doc/spec.org}
   * @throws MilterException BAD_ACTION if a key is missing or out of range, or a text cannot travel
   */
  public static Packet encode(IPersistentMap event) {
    EventType type = EventType.ofKeyword(event.valAt(Keys.EVENT));
    if (type == null || type.code == 0) {
      throw new MilterException(
          MilterException.Category.BAD_ACTION,
          "there is no event " + event.valAt(Keys.EVENT) + " on the wire");
    }
    Output output = new Output();
    switch (type) {
      case OPTIONS -> encodeOptions(event, output);
      case DEFINE_MACRO -> encodeMacros(event, output);
      case CONNECT -> encodeConnect(event, output);
      case HELLO -> output.putString(string(event, Keys.GREETING));
      case MAIL -> encodeAddress(event, Keys.SENDER, output);
      case RECIPIENT -> encodeAddress(event, Keys.ADDRESS, output);
      case HEADER ->
          output.putString(string(event, Keys.NAME)).putString(string(event, Keys.VALUE));
      case BODY -> output.put(bytes(event));
      case END_OF_MESSAGE -> {
        if (event.valAt(Keys.DATA) != null) {
          output.put(bytes(event));
        }
      }
      case UNKNOWN -> output.putString(string(event, Keys.COMMAND));
      default -> {}
    }
    return new Packet(type.code, output.toByteArray());
  }

  /**
   * {@return the event map of a header packet}
   *
   * @param packet as an MTA sends it
   * @param prefix put before the value: a space, where the MTA has taken one off against our wish
   * @param index returns, given the name, which field of that name it is, from 1: the {@code
   *     :index}, which is left out if this is null
   */
  public static IPersistentMap decodeHeader(
      Packet packet, String prefix, @Nullable Function<String, Long> index) {
    Field field = decodeField(packet, prefix);
    return index == null
        ? event(EventType.HEADER, Keys.NAME, field.name, Keys.VALUE, field.value)
        : event(
            EventType.HEADER,
            Keys.NAME,
            field.name,
            Keys.VALUE,
            field.value,
            Keys.INDEX,
            index.apply(field.name));
  }

  /**
   * What a header packet holds.
   *
   * @param name of the field
   * @param value of the field
   */
  public record Field(String name, String value) {}

  /**
   * {@return what a header packet holds, without an event map}
   *
   * @param packet as an MTA sends it
   * @param prefix put before the value, as for {@link #decodeHeader}
   */
  public static Field decodeField(Packet packet, String prefix) {
    PayloadReader reader = new PayloadReader(packet);
    String name = reader.readName("the header name");
    String received = reader.readLastString("the header value");
    return new Field(name, prefix.isEmpty() ? received : prefix + received);
  }

  /**
   * {@return an event map of the type with the given keys and values, in turn}
   *
   * @param type becomes the {@code :event}
   * @param keysAndValues keywords and their values
   */
  public static IPersistentMap event(EventType type, Object... keysAndValues) {
    Object[] entries = new Object[2 + keysAndValues.length];
    entries[0] = Keys.EVENT;
    entries[1] = type.keyword;
    System.arraycopy(keysAndValues, 0, entries, 2, keysAndValues.length);
    return new PersistentArrayMap(entries);
  }

  private record Known(int mask, PersistentHashSet keywords) {}

  /** Names flags, and remembers the last: an MTA offers the same on each of its connections. */
  private static final class FlagKeywords {
    private final IntFunction<Stream<Keyword>> names;
    private volatile Known last = new Known(0, PersistentHashSet.EMPTY);

    FlagKeywords(IntFunction<Stream<Keyword>> names) {
      this.names = names;
    }

    PersistentHashSet of(int mask) {
      Known known = last;
      if (known.mask != mask) {
        known = new Known(mask, PersistentHashSet.create(names.apply(mask).toArray()));
        last = known;
      }
      return known.keywords;
    }
  }

  private static final FlagKeywords ACTION_KEYWORDS =
      new FlagKeywords(mask -> ActionFlag.ofMask(mask).stream().map(flag -> flag.keyword));

  private static final FlagKeywords PROTOCOL_KEYWORDS =
      new FlagKeywords(mask -> ProtocolFlag.ofMask(mask).stream().map(flag -> flag.keyword));

  private static IPersistentMap decodeOptions(PayloadReader reader) {
    long version = Integer.toUnsignedLong(reader.readInt("the version"));
    int actions = reader.readInt("the action flags");
    int protocol = reader.readInt("the protocol flags");
    IPersistentMap event =
        event(
            EventType.OPTIONS,
            Keys.VERSION,
            version,
            Keys.ACTIONS,
            ACTION_KEYWORDS.of(actions),
            Keys.PROTOCOL,
            PROTOCOL_KEYWORDS.of(protocol),
            Keys.ACTION_MASK,
            Integer.toUnsignedLong(actions),
            Keys.PROTOCOL_MASK,
            Integer.toUnsignedLong(protocol));
    IPersistentMap lists = decodeMacroLists(reader);
    return lists.count() == 0 ? event : event.assoc(Keys.MACROS, lists);
  }

  /** Reads macro lists up to the end, or to surplus bytes that are too few for a list. */
  private static IPersistentMap decodeMacroLists(PayloadReader reader) {
    IPersistentMap lists = PersistentArrayMap.EMPTY;
    while (reader.remaining() > Integer.BYTES) {
      MacroStage stage = MacroStage.ofId(reader.readInt("a macro list's stage"));
      String names = reader.readLenientString();
      if (stage != null) {
        lists = lists.assoc(stage.keyword, macroNames(names));
      }
    }
    return lists;
  }

  private static void encodeOptions(IPersistentMap event, Output output) {
    output
        .putInt((int) number(event, Keys.VERSION, MAXIMUM_INT))
        .putInt((int) number(event, Keys.ACTION_MASK, MAXIMUM_INT))
        .putInt((int) number(event, Keys.PROTOCOL_MASK, MAXIMUM_INT));
    if (event.valAt(Keys.MACROS) instanceof Map<?, ?> lists) {
      for (MacroStage stage : MacroStage.values()) {
        if (lists.get(stage.keyword) instanceof List<?> names) {
          output.putInt(stage.id).putString(wireNames(names));
        }
      }
    }
  }

  private static IPersistentVector macroNames(String list) {
    List<String> names = new ArrayList<>();
    for (String name : words(list.replace(',', ' '))) {
      names.add(bareName(name));
    }
    return PersistentVector.create((Iterable<?>) names);
  }

  /** {@return the parts of the text between spaces} */
  static List<String> words(String text) {
    List<String> words = new ArrayList<>();
    for (String word : text.split(" ")) {
      if (!word.isEmpty()) {
        words.add(word);
      }
    }
    return words;
  }

  private static IPersistentMap decodeMacros(PayloadReader reader) {
    int letter = reader.readByte("the stage letter");
    Map<String, String> definitions = new LinkedHashMap<>();
    while (reader.hasRemaining()) {
      String name = reader.readLenientString();
      if (reader.hasRemaining()) {
        definitions.putIfAbsent(bareName(name), reader.readLenientString());
      }
    }
    return event(
        EventType.DEFINE_MACRO,
        Keys.STAGE,
        stageKeyword((byte) letter),
        Keys.COMMAND,
        (char) letter,
        Keys.DEFINITIONS,
        stringMap(definitions));
  }

  private static void encodeMacros(IPersistentMap event, Output output) {
    if (!(event.valAt(Keys.COMMAND) instanceof Character letter && letter <= 0xFF)) {
      throw missing(event, Keys.COMMAND, "the letter of a command");
    }
    if (!(event.valAt(Keys.DEFINITIONS) instanceof Map<?, ?> definitions)) {
      throw missing(event, Keys.DEFINITIONS, "a map of strings");
    }
    output.putByte(letter);
    for (Map.Entry<?, ?> definition : definitions.entrySet()) {
      if (!(definition.getKey() instanceof String name
          && definition.getValue() instanceof String value)) {
        throw missing(event, Keys.DEFINITIONS, "a map of strings");
      }
      output.putString(wireName(name)).putString(value);
    }
  }

  /** {@return the keyword of the event that the letter stands for, or null} */
  private static Keyword stageKeyword(byte letter) {
    EventType type = EventType.ofCode(letter);
    return type == null ? null : type.keyword;
  }

  private static IPersistentMap stringMap(Map<String, String> strings) {
    Object[] entries = new Object[2 * strings.size()];
    int i = 0;
    for (Map.Entry<String, String> entry : strings.entrySet()) {
      entries[i++] = entry.getKey();
      entries[i++] = entry.getValue();
    }
    return new PersistentArrayMap(entries);
  }

  /**
   * {@return the name of a macro without braces}
   *
   * @param name such as {@code {auth_authen}} or {@code i}
   */
  public static String bareName(String name) {
    return name.length() > 2 && name.startsWith("{") && name.endsWith("}")
        ? name.substring(1, name.length() - 1)
        : name;
  }

  /** {@return the name of a macro as it travels: one character bare, longer names in braces} */
  private static String wireName(String name) {
    return name.length() == 1 || name.startsWith("{") ? name : "{" + name + "}";
  }

  /** {@return the macro names as a list of the negotiation} */
  static String wireNames(List<?> names) {
    List<String> wireNames = new ArrayList<>();
    for (Object name : names) {
      wireNames.add(wireName((String) name));
    }
    return String.join(" ", wireNames);
  }

  private static IPersistentMap decodeConnect(PayloadReader reader) {
    String host = reader.readString("the host name");
    int code = reader.readByte("the address family");
    AddressFamily family = AddressFamily.ofCode(code);
    if (family == null) {
      throw reader.malformed("there is no address family '" + (char) code + "'");
    }
    if (family == AddressFamily.UNKNOWN) {
      return event(EventType.CONNECT, Keys.HOST_NAME, host, Keys.FAMILY, family.keyword);
    }
    long port = reader.readShort("the port");
    String address = reader.readLastString("the address");
    return event(
        EventType.CONNECT,
        Keys.HOST_NAME,
        host,
        Keys.FAMILY,
        family.keyword,
        Keys.PORT,
        port,
        Keys.ADDRESS,
        family == AddressFamily.INET6 ? withoutPrefix(address) : address);
  }

  private static String withoutPrefix(String address) {
    return address.regionMatches(true, 0, IPV6_PREFIX, 0, IPV6_PREFIX.length())
        ? address.substring(IPV6_PREFIX.length())
        : address;
  }

  private static void encodeConnect(IPersistentMap event, Output output) {
    output.putString(string(event, Keys.HOST_NAME));
    AddressFamily family = AddressFamily.ofKeyword(event.valAt(Keys.FAMILY));
    if (family == null) {
      throw missing(event, Keys.FAMILY, ":inet, :inet6, :unix or :unknown");
    }
    output.putByte(family.code);
    if (family == AddressFamily.UNKNOWN) {
      return;
    }
    output
        .putShort(event.valAt(Keys.PORT) == null ? 0 : (int) number(event, Keys.PORT, MAXIMUM_PORT))
        .putString(string(event, Keys.ADDRESS));
  }

  private static IPersistentMap decodeAddress(EventType type, Keyword key, PayloadReader reader) {
    List<String> strings = new ArrayList<>(4);
    strings.add(reader.readString("the address"));
    while (reader.hasRemaining()) {
      strings.add(reader.readString("a parameter"));
    }
    if (strings.size() == 1) {
      strings = splitAfterAddress(strings.get(0));
    }
    return event(
        type,
        key,
        strings.get(0),
        Keys.OPTIONS,
        strings.size() == 1
            ? PersistentVector.EMPTY
            : PersistentVector.create((Iterable<?>) strings.subList(1, strings.size())));
  }

  /** Takes parameters off an address that Sendmail 8.17.1 sends together with them (SMTPUTF8). */
  private static List<String> splitAfterAddress(String text) {
    int end = text.startsWith("<") ? closingBracket(text) : -1;
    if (end < 0 || !text.startsWith(" ", end + 1)) {
      return List.of(text);
    }
    List<String> strings = new ArrayList<>();
    strings.add(text.substring(0, end + 1));
    strings.addAll(words(text.substring(end + 1)));
    return strings;
  }

  private static int closingBracket(String text) {
    boolean quoted = false;
    for (int i = 0; i < text.length(); i++) {
      char c = text.charAt(i);
      if (c == '\\') {
        i++;
      } else if (c == '"') {
        quoted = !quoted;
      } else if (c == '>' && !quoted) {
        return i;
      }
    }
    return -1;
  }

  private static void encodeAddress(IPersistentMap event, Keyword key, Output output) {
    output.putString(string(event, key));
    if (event.valAt(Keys.OPTIONS) == null) {
      return;
    }
    if (!(event.valAt(Keys.OPTIONS) instanceof Iterable<?> options)) {
      throw missing(event, Keys.OPTIONS, "strings");
    }
    for (Object option : options) {
      if (!(option instanceof String string)) {
        throw missing(event, Keys.OPTIONS, "strings");
      }
      output.putString(string);
    }
  }

  /**
   * Checks an event, those that never travel included.
   *
   * @throws MilterException BAD_ACTION if a key is missing or out of range, or a text cannot travel
   */
  static void check(EventType type, IPersistentMap event) {
    if (type == EventType.ABORT || type == EventType.MESSAGE_END) {
      named(event, Keys.AT, EventType.ofKeyword(event.valAt(Keys.AT)), "an event");
    }
    switch (type) {
      case MESSAGE_END ->
          named(
              event, Keys.REASON, MessageEndReason.ofKeyword(event.valAt(Keys.REASON)), "a reason");
      case DISCONNECT ->
          named(
              event, Keys.REASON, DisconnectReason.ofKeyword(event.valAt(Keys.REASON)), "a reason");
      case HEADER -> {
        number(event, Keys.INDEX, MAXIMUM_INT);
        encode(event);
      }
      default -> encode(event);
    }
  }

  private static void named(IPersistentMap event, Keyword key, Object found, String wanted) {
    if (found == null) {
      throw missing(event, key, wanted);
    }
  }

  private static String string(IPersistentMap event, Keyword key) {
    if (event.valAt(key) instanceof String string) {
      return string;
    }
    throw missing(event, key, "a string");
  }

  private static byte[] bytes(IPersistentMap event) {
    if (event.valAt(Keys.DATA) instanceof byte[] bytes) {
      return bytes;
    }
    throw missing(event, Keys.DATA, "bytes");
  }

  private static long number(IPersistentMap event, Keyword key, long maximum) {
    if (event.valAt(key) instanceof Number number
        && number.longValue() >= 0
        && number.longValue() <= maximum) {
      return number.longValue();
    }
    throw missing(event, key, "a number from 0 to " + maximum);
  }

  private static MilterException missing(IPersistentMap event, Keyword key, String wanted) {
    return new MilterException(
        MilterException.Category.BAD_ACTION,
        event.valAt(Keys.EVENT) + ": " + key + " must be " + wanted);
  }
}
