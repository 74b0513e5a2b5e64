package temse.protocol;

import clojure.lang.IPersistentMap;
import clojure.lang.Keyword;
import clojure.lang.PersistentArrayMap;
import clojure.lang.PersistentVector;
import java.io.ByteArrayInputStream;
import java.io.File;
import java.io.FileInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.util.List;

/**
 * Action maps and the packets that carry them, in both directions.
 *
 * <p>A milter's packets are encoded by the milter and decoded by the MTA side. Action maps and
 * their keys are described in {@code doc/spec.org}. A replaced body becomes as many packets as it
 * needs.
 */
public final class ActionCodec {
  /** The largest payload of a packet ({@code MILTER_CHUNK_SIZE}, {@code MILTER_MAX_DATA_SIZE}). */
  public static final int MAXIMUM_PAYLOAD = 65535;

  private static final byte INSERT_HEADER = 'i';
  private static final byte ADD_RECIPIENT_WITH_PARAMETERS = '2';
  private static final byte[] EMPTY = {};
  private static final Keyword INSERT_HEADER_ALIAS = Keyword.intern("insert-header");
  private static final Keyword DELETE_HEADER_ALIAS = Keyword.intern("delete-header");
  private static final Keyword REPLACE_BODY_ALIAS = Keyword.intern("replace-body");

  private ActionCodec() {}

  /**
   * Returns the action with its aliases resolved: {@code :insert-header} is {@code :add-header}
   * with a position, {@code :delete-header} is {@code :change-header} without a value, and {@code
   * :replace-body} is {@code :change-body}.
   */
  public static IPersistentMap normalise(IPersistentMap action) {
    Object name = action.valAt(Keys.ACTION);
    if (name == INSERT_HEADER_ALIAS) {
      IPersistentMap added = action.assoc(Keys.ACTION, ActionType.ADD_HEADER.keyword);
      return action.valAt(Keys.POSITION) == null ? added.assoc(Keys.POSITION, 0L) : added;
    }
    if (name == DELETE_HEADER_ALIAS) {
      return action.assoc(Keys.ACTION, ActionType.CHANGE_HEADER.keyword).assoc(Keys.VALUE, null);
    }
    if (name == REPLACE_BODY_ALIAS) {
      return action.assoc(Keys.ACTION, ActionType.CHANGE_BODY.keyword);
    }
    return action;
  }

  /**
   * Returns the type of a normalised action.
   *
   * @throws MilterException BAD_ACTION if there is no such action
   */
  public static ActionType type(IPersistentMap action) {
    ActionType type = ActionType.ofKeyword(action.valAt(Keys.ACTION));
    if (type == null) {
      throw new MilterException(
          MilterException.Category.BAD_ACTION,
          "there is no action " + action.valAt(Keys.ACTION),
          Keys.ACTION,
          action);
    }
    return type;
  }

  /**
   * Returns the plain reply that has the same effect: reply codes of class 5 reject, those of class
   * 4 and the two reserved replies are temporary failures.
   */
  public static ActionType verdict(IPersistentMap reply) {
    if (reply == Actions.proceed()) {
      return ActionType.CONTINUE;
    }
    ActionType type = type(reply);
    return switch (type) {
      case REPLY_CODE -> smtpCode(reply) >= 500 ? ActionType.REJECT : ActionType.TEMPORARY_FAILURE;
      case SHUTDOWN, CONNECTION_FAILURE -> ActionType.TEMPORARY_FAILURE;
      default -> type;
    };
  }

  /** Returns the flag that must have been agreed before the action may be sent, or null. */
  public static ActionFlag flag(ActionType type, IPersistentMap action) {
    return type == ActionType.ADD_RECIPIENT && action.valAt(Keys.PARAMETERS) != null
        ? ActionFlag.ADD_RECIPIENT_PARAMETERS
        : type.flag;
  }

  /**
   * Encodes an action as one packet, or several for a replaced body.
   *
   * @throws MilterException BAD_ACTION if a key is missing or out of range, or a text cannot travel
   */
  public static void encode(IPersistentMap given, PacketSink sink) {
    encode(given, MAXIMUM_PAYLOAD, sink);
  }

  /**
   * Encodes an action like {@link #encode(IPersistentMap, PacketSink)}, with another limit on the
   * bytes of a payload: {@link Agreement#maximumPayload}. The pieces of a body stay as they are.
   */
  public static void encode(IPersistentMap given, int maximumPayload, PacketSink sink) {
    IPersistentMap action = normalise(given);
    encodeNormal(
        action,
        (code, bytes, offset, length) -> {
          if (length > maximumPayload) {
            throw bad(action, "it takes " + length + " bytes, the limit is " + maximumPayload);
          }
          sink.packet(code, bytes, offset, length);
        });
  }

  private static void encodeNormal(IPersistentMap action, PacketSink sink) {
    ActionType type = type(action);
    switch (type) {
      case REPLY_CODE -> send(type.code, replyText(action), sink);
      case ADD_HEADER -> encodeAddHeader(action, sink);
      case CHANGE_HEADER ->
          send(
              type.code,
              new PayloadWriter()
                  .writeInt(number(action, Keys.INDEX, 1))
                  .writeString(headerName(action))
                  .writeString(headerValue(action, true)),
              sink);
      case CHANGE_BODY -> encodeBody(action, sink);
      case ADD_RECIPIENT ->
          send(
              action.valAt(Keys.PARAMETERS) == null ? type.code : ADD_RECIPIENT_WITH_PARAMETERS,
              addressAndParameters(action),
              sink);
      case CHANGE_SENDER -> send(type.code, addressAndParameters(action), sink);
      case DELETE_RECIPIENT ->
          send(type.code, new PayloadWriter().writeString(line(action, Keys.ADDRESS)), sink);
      case QUARANTINE ->
          send(type.code, new PayloadWriter().writeString(line(action, Keys.REASON)), sink);
      default -> sink.packet(type.code, EMPTY, 0, 0);
    }
  }

  /**
   * Returns the action map of a packet from a milter; a piece of a replaced body is a {@code
   * :change-body} of its own.
   *
   * @throws MilterException MALFORMED_PACKET for an unknown reply byte or a payload that does not
   *     fit it
   */
  public static IPersistentMap decode(Packet packet) {
    PayloadReader reader = new PayloadReader(packet);
    IPersistentMap action = decode(packet, reader);
    if (action == null) {
      throw reader.malformed("there is no such reply");
    }
    return action;
  }

  private static IPersistentMap decode(Packet packet, PayloadReader reader) {
    return switch (packet.code()) {
      case 'h' ->
          action(
              ActionType.ADD_HEADER,
              Keys.NAME,
              reader.readString("the header name"),
              Keys.VALUE,
              reader.readLastString("the header value"));
      case INSERT_HEADER -> {
        long position = Integer.toUnsignedLong(reader.readInt("the position"));
        yield action(
            ActionType.ADD_HEADER,
            Keys.NAME,
            reader.readString("the header name"),
            Keys.VALUE,
            reader.readLastString("the header value"),
            Keys.POSITION,
            position);
      }
      case 'm' -> {
        long index = Integer.toUnsignedLong(reader.readInt("the index"));
        String name = reader.readString("the header name");
        String value = reader.readLastString("the header value");
        yield action(
            ActionType.CHANGE_HEADER,
            Keys.NAME,
            name,
            Keys.VALUE,
            value.isEmpty() ? null : value,
            Keys.INDEX,
            index);
      }
      case 'b' -> action(ActionType.CHANGE_BODY, Keys.BODY, packet.payload());
      case '+' ->
          action(ActionType.ADD_RECIPIENT, Keys.ADDRESS, reader.readLastString("the address"));
      case ADD_RECIPIENT_WITH_PARAMETERS ->
          action(
              ActionType.ADD_RECIPIENT,
              Keys.ADDRESS,
              reader.readString("the address"),
              Keys.PARAMETERS,
              parameters(reader));
      case '-' ->
          action(ActionType.DELETE_RECIPIENT, Keys.ADDRESS, reader.readLastString("the address"));
      case 'e' -> {
        IPersistentMap change =
            action(ActionType.CHANGE_SENDER, Keys.ADDRESS, reader.readString("the address"));
        yield reader.hasRemaining() ? change.assoc(Keys.PARAMETERS, parameters(reader)) : change;
      }
      case 'q' -> action(ActionType.QUARANTINE, Keys.REASON, reader.readLastString("the reason"));
      case 'y' -> ReplyText.parse(reader.readLastString("the reply text"));
      default -> {
        ActionType plain = plainType(packet.code());
        if (plain != null && packet.payload().length > 0) {
          throw reader.malformed("it must have no payload");
        }
        yield plain == null ? null : action(plain);
      }
    };
  }

  private static ActionType plainType(byte code) {
    for (ActionType type : ActionType.values()) {
      if (type.code == code && type.kind != ActionType.Kind.MODIFICATION) {
        return type;
      }
    }
    return null;
  }

  /** Returns an action map of the type with the given keys and values, in turn. */
  static IPersistentMap action(ActionType type, Object... keysAndValues) {
    Object[] entries = new Object[2 + keysAndValues.length];
    entries[0] = Keys.ACTION;
    entries[1] = type.keyword;
    System.arraycopy(keysAndValues, 0, entries, 2, keysAndValues.length);
    return new PersistentArrayMap(entries);
  }

  private static PersistentVector parameters(PayloadReader reader) {
    String text = reader.hasRemaining() ? reader.readLastString("the parameters") : "";
    return PersistentVector.create((Iterable<?>) EventCodec.words(text));
  }

  private static void encodeAddHeader(IPersistentMap action, PacketSink sink) {
    PayloadWriter writer = new PayloadWriter();
    boolean inserted = action.valAt(Keys.POSITION) != null;
    if (inserted) {
      writer.writeInt(number(action, Keys.POSITION, 0));
    }
    writer.writeString(headerName(action)).writeString(headerValue(action, false));
    send(inserted ? INSERT_HEADER : ActionType.ADD_HEADER.code, writer, sink);
  }

  private static PayloadWriter replyText(IPersistentMap action) {
    Object enhanced = action.valAt(Keys.ENHANCED_CODE);
    if (enhanced != null && !(enhanced instanceof String)) {
      throw bad(action, Keys.ENHANCED_CODE + " must be a string like \"5.7.1\"");
    }
    String text = action.valAt(Keys.TEXT) == null ? "" : string(action, Keys.TEXT);
    return new PayloadWriter()
        .writeString(ReplyText.format(smtpCode(action), (String) enhanced, text));
  }

  private static long smtpCode(IPersistentMap action) {
    if (action.valAt(Keys.SMTP_CODE) instanceof Number code) {
      return code.longValue();
    }
    throw bad(action, Keys.SMTP_CODE + " must be a number from 400 to 599");
  }

  private static PayloadWriter addressAndParameters(IPersistentMap action) {
    PayloadWriter writer = new PayloadWriter().writeString(line(action, Keys.ADDRESS));
    Object parameters = action.valAt(Keys.PARAMETERS);
    if (parameters instanceof String text) {
      writer.writeString(singleLine(action, Keys.PARAMETERS, text));
    } else if (parameters instanceof List<?> list) {
      StringBuilder joined = new StringBuilder();
      for (Object parameter : list) {
        if (!(parameter instanceof String text)) {
          throw bad(action, Keys.PARAMETERS + " must be strings");
        }
        joined.append(joined.length() == 0 ? "" : " ");
        joined.append(singleLine(action, Keys.PARAMETERS, text));
      }
      if (!list.isEmpty()) {
        writer.writeString(joined.toString());
      }
    } else if (parameters != null) {
      throw bad(action, Keys.PARAMETERS + " must be a string or a vector of strings");
    }
    return writer;
  }

  private static String headerName(IPersistentMap action) {
    String name = string(action, Keys.NAME);
    for (int i = 0; i < name.length(); i++) {
      char c = name.charAt(i);
      if (c <= ' ' || c == ':' || c == 0x7F) {
        throw bad(action, ":name must hold no space, colon or control character");
      }
    }
    if (name.isEmpty()) {
      throw bad(action, ":name must not be empty");
    }
    return name;
  }

  /** Returns the value with line ends as they travel: LF, which white space must follow. */
  private static String headerValue(IPersistentMap action, boolean mayBeMissing) {
    if (action.valAt(Keys.VALUE) == null && mayBeMissing) {
      return "";
    }
    String value = string(action, Keys.VALUE).replace("\r\n", "\n");
    for (int i = 0; i < value.length(); i++) {
      char c = value.charAt(i);
      if (c == '\r') {
        throw bad(
            action, ":value holds a CR; lines are separated by \\n and begin with white space");
      }
      if (c == '\n' && (i + 1 == value.length() || " \t".indexOf(value.charAt(i + 1)) < 0)) {
        throw bad(action, ":value holds a line that does not begin with a space or tab");
      }
    }
    return value;
  }

  private static String line(IPersistentMap action, Keyword key) {
    String text = singleLine(action, key, string(action, key));
    if (text.isEmpty()) {
      throw bad(action, key + " must not be empty");
    }
    return text;
  }

  private static String singleLine(IPersistentMap action, Keyword key, String text) {
    if (text.indexOf('\r') >= 0 || text.indexOf('\n') >= 0) {
      throw bad(action, key + " must hold no CR or LF");
    }
    return text;
  }

  private static String string(IPersistentMap action, Keyword key) {
    if (action.valAt(key) instanceof String string) {
      return string;
    }
    throw bad(action, key + " must be a string");
  }

  private static int number(IPersistentMap action, Keyword key, int otherwise) {
    Object value = action.valAt(key);
    if (value == null) {
      return otherwise;
    }
    if (value instanceof Number number
        && number.longValue() >= 0
        && number.longValue() <= Integer.MAX_VALUE) {
      return number.intValue();
    }
    throw bad(action, key + " must be a number from 0 to " + Integer.MAX_VALUE);
  }

  private static void encodeBody(IPersistentMap action, PacketSink sink) {
    BodyChunks chunks = new BodyChunks(sink);
    try {
      addBody(action, action.valAt(Keys.BODY), chunks);
    } catch (IOException e) {
      throw new MilterException(
          MilterException.Category.BAD_ACTION, ":change-body: the body cannot be read", e);
    }
    chunks.finish();
  }

  private static void addBody(IPersistentMap action, Object body, BodyChunks chunks)
      throws IOException {
    if (body instanceof byte[] bytes) {
      chunks.add(new ByteArrayInputStream(bytes));
    } else if (body instanceof String text) {
      chunks.add(new ByteArrayInputStream(Text.encodeBytes(text)));
    } else if (body instanceof InputStream stream) {
      try (stream) {
        chunks.add(stream);
      }
    } else if (body instanceof File file) {
      try (InputStream stream = new FileInputStream(file)) {
        chunks.add(stream);
      }
    } else if (body instanceof Iterable<?> pieces) {
      for (Object piece : pieces) {
        addBody(action, piece, chunks);
      }
    } else {
      throw bad(
          action, ":body must be a string, bytes, an InputStream, a File or a sequence of these");
    }
  }

  /** Fills packets of the largest size; an empty body is one empty packet. */
  private static final class BodyChunks {
    private final PacketSink sink;
    private final byte[] chunk = new byte[MAXIMUM_PAYLOAD];
    private int size;
    private boolean sent;

    BodyChunks(PacketSink sink) {
      this.sink = sink;
    }

    void add(InputStream stream) throws IOException {
      for (int n = stream.readNBytes(chunk, size, chunk.length - size);
          n > 0;
          n = stream.readNBytes(chunk, size, chunk.length - size)) {
        size += n;
        if (size == chunk.length) {
          send();
        }
      }
    }

    void finish() {
      if (size > 0 || !sent) {
        send();
      }
    }

    private void send() {
      sink.packet(ActionType.CHANGE_BODY.code, chunk, 0, size);
      size = 0;
      sent = true;
    }
  }

  private static void send(byte code, PayloadWriter writer, PacketSink sink) {
    byte[] payload = writer.toByteArray();
    sink.packet(code, payload, 0, payload.length);
  }

  private static MilterException bad(IPersistentMap action, String problem) {
    return new MilterException(
        MilterException.Category.BAD_ACTION,
        action.valAt(Keys.ACTION) + ": " + problem,
        Keys.ACTION,
        action,
        "problem",
        problem);
  }
}
