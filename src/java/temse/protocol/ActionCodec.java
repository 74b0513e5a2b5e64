package temse.protocol;

import clojure.lang.IPersistentMap;
import clojure.lang.Keyword;
import clojure.lang.PersistentArrayMap;
import org.jspecify.annotations.Nullable;

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

  static final byte INSERT_HEADER = 'i';
  static final byte ADD_RECIPIENT_WITH_PARAMETERS = '2';
  private static final Keyword INSERT_HEADER_ALIAS = Keyword.intern("insert-header");
  private static final Keyword DELETE_HEADER_ALIAS = Keyword.intern("delete-header");
  private static final Keyword REPLACE_BODY_ALIAS = Keyword.intern("replace-body");

  private ActionCodec() {}

  /**
   * Returns the action with its aliases resolved: {@code :insert-header} is {@code :add-header}
   * with a position, {@code :delete-header} is {@code :change-header} with the value nil, and
   * {@code :replace-body} is {@code :change-body}.
   *
   * @throws MilterException BAD_ACTION if an alias has a key of another action
   */
  public static IPersistentMap normalise(IPersistentMap action) {
    Object name = action.valAt(Keys.ACTION);
    if (name != INSERT_HEADER_ALIAS && name != DELETE_HEADER_ALIAS && name != REPLACE_BODY_ALIAS) {
      return action;
    }
    ActionKeys.checkKnown(action);
    if (name == INSERT_HEADER_ALIAS) {
      IPersistentMap added = action.assoc(Keys.ACTION, ActionType.ADD_HEADER.keyword);
      return action.valAt(Keys.POSITION) == null ? added.assoc(Keys.POSITION, 0L) : added;
    }
    return name == DELETE_HEADER_ALIAS
        ? action.assoc(Keys.ACTION, ActionType.CHANGE_HEADER.keyword).assoc(Keys.VALUE, null)
        : action.assoc(Keys.ACTION, ActionType.CHANGE_BODY.keyword);
  }

  /**
   * Returns the type of a normalised action.
   *
   * @throws MilterException BAD_ACTION if there is no such action
   */
  public static ActionType type(IPersistentMap action) {
    ActionType type = ActionType.ofKeyword(action.valAt(Keys.ACTION));
    if (type == null) {
      throw ActionKeys.unknown(action);
    }
    return type;
  }

  /**
   * Returns the plain reply that has the same effect: reply codes of class 5 reject, those of class
   * 4 and the two reserved replies are temporary failures.
   */
  public static ActionType verdict(IPersistentMap reply) {
    if (reply == Action.proceed().map()) {
      return ActionType.CONTINUE;
    }
    return verdict(type(reply), reply);
  }

  /** Returns the verdict of a reply like {@link #verdict(IPersistentMap)}, its type being known. */
  public static ActionType verdict(ActionType type, IPersistentMap reply) {
    return switch (type) {
      case REPLY_CODE ->
          ActionFields.smtpCode(reply) >= 500 ? ActionType.REJECT : ActionType.TEMPORARY_FAILURE;
      case SHUTDOWN, CONNECTION_FAILURE -> ActionType.TEMPORARY_FAILURE;
      default -> type;
    };
  }

  /** Returns the flag that must have been agreed before the action may be sent, or null. */
  public static @Nullable ActionFlag flag(ActionType type, IPersistentMap action) {
    return type == ActionType.ADD_RECIPIENT && action.valAt(Keys.PARAMETERS) != null
        ? ActionFlag.ADD_RECIPIENT_PARAMETERS
        : type.flag;
  }

  /**
   * Checks an action: whatever {@link #encode} would refuse is refused. A body is checked by its
   * type, and neither opened nor read; what a lazy sequence, a Supplier or a function will yield is
   * checked when its turn comes.
   *
   * @throws MilterException BAD_ACTION, with what would be right
   */
  public static void check(IPersistentMap action) {
    check(action, MAXIMUM_PAYLOAD);
  }

  /**
   * Checks an action like {@link #check(IPersistentMap)}, with another limit on the bytes of a
   * payload: {@link Agreement#maximumPayload}.
   */
  public static void check(IPersistentMap given, int maximumPayload) {
    if (isBody(given)) {
      BodyPieces.check(given);
    } else {
      ActionKeys.check(given);
      packet(normalise(given), maximumPayload);
    }
  }

  /**
   * Checks that there is an action of this name, that the map has no key of another, and that none
   * is missing. Values are not looked at.
   *
   * @throws MilterException BAD_ACTION, with what would be right
   */
  public static void checkKeys(IPersistentMap action) {
    ActionKeys.check(action);
  }

  /**
   * Encodes an action as one packet, or several for a replaced body. The sink gets whole packets
   * only, and none if the action cannot be sent.
   *
   * @throws MilterException BAD_ACTION if a key is missing, unknown or out of range, or a text
   *     cannot travel; also between the packets of a body that cannot be read to its end
   */
  public static void encode(IPersistentMap action, PacketSink sink) {
    encode(action, MAXIMUM_PAYLOAD, sink);
  }

  /**
   * Encodes an action like {@link #encode(IPersistentMap, PacketSink)}, with another limit on the
   * bytes of a payload: {@link Agreement#maximumPayload}. The pieces of a body stay as they are.
   */
  public static void encode(IPersistentMap given, int maximumPayload, PacketSink sink) {
    if (isBody(given)) {
      try (BodyPieces pieces = BodyPieces.of(given)) {
        boolean more = pieces.next(sink);
        while (more) {
          more = pieces.next(sink);
        }
      }
      return;
    }
    ActionKeys.check(given);
    Packet packet = packet(normalise(given), maximumPayload);
    sink.packet(packet.code(), packet.payload(), 0, packet.payload().length);
  }

  private static boolean isBody(IPersistentMap action) {
    Object name = action.valAt(Keys.ACTION);
    return name == ActionType.CHANGE_BODY.keyword || name == REPLACE_BODY_ALIAS;
  }

  private static Packet packet(IPersistentMap action, int maximumPayload) {
    Packet packet = packet(type(action), action);
    if (packet.payload().length > maximumPayload) {
      throw ActionFields.bad(
          action, "it takes " + packet.payload().length + " bytes, the limit is " + maximumPayload);
    }
    return packet;
  }

  private static Packet packet(ActionType type, IPersistentMap action) {
    PayloadWriter writer = new PayloadWriter();
    byte code = type.code;
    switch (type) {
      case REPLY_CODE -> writer.writeString(ActionFields.reply(action));
      case ADD_HEADER -> {
        if (action.valAt(Keys.POSITION) != null) {
          code = INSERT_HEADER;
          writer.writeInt(ActionFields.number(action, Keys.POSITION, 0));
        }
        writer
            .writeString(ActionFields.headerName(action))
            .writeString(ActionFields.headerValue(action));
      }
      case CHANGE_HEADER ->
          writer
              .writeInt(ActionFields.number(action, Keys.INDEX, 1))
              .writeString(ActionFields.headerName(action))
              .writeString(
                  action.valAt(Keys.VALUE) == null ? "" : ActionFields.headerValue(action));
      case ADD_RECIPIENT -> {
        if (action.valAt(Keys.PARAMETERS) != null) {
          code = ADD_RECIPIENT_WITH_PARAMETERS;
        }
        writeAddressAndParameters(action, writer);
      }
      case CHANGE_SENDER -> writeAddressAndParameters(action, writer);
      case DELETE_RECIPIENT -> writer.writeString(ActionFields.line(action, Keys.ADDRESS));
      case QUARANTINE -> writer.writeString(ActionFields.line(action, Keys.REASON));
      default -> {
        return new Packet((char) code);
      }
    }
    return new Packet(code, writer.toByteArray());
  }

  private static void writeAddressAndParameters(IPersistentMap action, PayloadWriter writer) {
    writer.writeString(ActionFields.line(action, Keys.ADDRESS));
    String parameters = ActionFields.parameters(action);
    if (parameters != null) {
      writer.writeString(parameters);
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
    return ActionDecoder.decode(packet);
  }

  /** Returns an action map of the type with the given keys and values, in turn. */
  static IPersistentMap action(ActionType type, Object... keysAndValues) {
    Object[] entries = new Object[2 + keysAndValues.length];
    entries[0] = Keys.ACTION;
    entries[1] = type.keyword;
    System.arraycopy(keysAndValues, 0, entries, 2, keysAndValues.length);
    return new PersistentArrayMap(entries);
  }
}
