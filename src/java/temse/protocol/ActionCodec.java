package temse.protocol;

import clojure.lang.IPersistentMap;
import clojure.lang.Keyword;
import clojure.lang.PersistentArrayMap;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.List;
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
   * {@return the action with its aliases resolved: {@code :insert-header} is {@code :add-header}
   * with a position, {@code :delete-header} is {@code :change-header} with the value nil, and
   * {@code :replace-body} is {@code :change-body}}
   *
   * @param action a map as in {@code doc/spec.org}
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
   * {@return the type of a normalised action}
   *
   * @param action as {@link #normalise} returns it
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
   * {@return the plain reply that has the same effect: reply codes of class 5 reject, those of
   * class 4 and the two reserved replies are temporary failures}
   *
   * @param reply a map whose action is a reply
   */
  public static ActionType verdict(IPersistentMap reply) {
    return verdict(type(reply), reply);
  }

  /**
   * {@return the verdict of a reply like {@link #verdict(IPersistentMap)}, its type being known}
   *
   * @param type of the reply
   * @param reply a map whose action is a reply
   */
  public static ActionType verdict(ActionType type, IPersistentMap reply) {
    return switch (type) {
      case REPLY_CODE ->
          ActionFields.smtpCode(reply) >= 500 ? ActionType.REJECT : ActionType.TEMPORARY_FAILURE;
      case SHUTDOWN, CONNECTION_FAILURE -> ActionType.TEMPORARY_FAILURE;
      default -> type;
    };
  }

  /**
   * {@return the flag that must have been agreed before the action may be sent, or null}
   *
   * @param type of the action
   * @param action as {@link #normalise} returns it
   */
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
   * @param action a map, aliases included
   * @throws MilterException BAD_ACTION, with what would be right
   */
  public static void check(IPersistentMap action) {
    check(action, MAXIMUM_PAYLOAD);
  }

  /**
   * Checks an action like {@link #check(IPersistentMap)}, with another limit on the bytes of a
   * payload: {@link Agreement#maximumPayload}.
   *
   * @param given an action map, aliases included
   * @param maximumPayload in bytes
   */
  public static void check(IPersistentMap given, int maximumPayload) {
    if (isBody(given)) {
      BodyPieces.check(given);
    } else {
      encode(given, maximumPayload, new Output());
    }
  }

  /**
   * Checks that there is an action of this name, that the map has no key of another, and that none
   * is missing. Values are not looked at.
   *
   * @param action a map, aliases included
   * @throws MilterException BAD_ACTION, with what would be right
   */
  public static void checkKeys(IPersistentMap action) {
    ActionKeys.check(action);
  }

  /**
   * Appends an action to the output, as one packet or several for a replaced body, all or nothing.
   *
   * @param given an action map, aliases included
   * @param output takes the packets
   * @throws MilterException BAD_ACTION if a key is missing, unknown or out of range, or a text
   *     cannot travel
   */
  public static void encode(IPersistentMap given, Output output) {
    if (isBody(given)) {
      encodeBody(given, output);
    } else {
      encode(given, MAXIMUM_PAYLOAD, output);
    }
  }

  private static void encodeBody(IPersistentMap given, Output output) {
    int start = output.size();
    try (BodyPieces pieces = BodyPieces.of(given)) {
      boolean more = pieces.next(output);
      while (more) {
        more = pieces.next(output);
      }
    } catch (Throwable e) {
      output.truncate(start);
      throw e;
    }
  }

  private static void encode(IPersistentMap given, int maximumPayload, Output output) {
    ActionKeys.check(given);
    IPersistentMap action = normalise(given);
    write(type(action), action, maximumPayload, output);
  }

  /**
   * Appends a normalised action of the type, which is not a new body, to the output as one packet,
   * whole or not at all.
   *
   * @param type of the action
   * @param action as {@link #normalise} returns it
   * @param maximumPayload the limit on its bytes: {@link Agreement#maximumPayload}
   * @param output takes the packets
   * @throws MilterException BAD_ACTION if a key is missing, unknown or out of range, or a text
   *     cannot travel
   */
  public static void encode(
      ActionType type, IPersistentMap action, int maximumPayload, Output output) {
    ActionKeys.check(type, action);
    write(type, action, maximumPayload, output);
  }

  /**
   * {@return the packets in which an action travels: see {@link #encode(IPersistentMap, Output)}}
   *
   * @param action a map, aliases included
   */
  public static List<Packet> packets(IPersistentMap action) {
    Output output = new Output();
    encode(action, output);
    ByteBuffer bytes = ByteBuffer.wrap(output.toByteArray());
    List<Packet> packets = new ArrayList<>(1);
    while (bytes.hasRemaining()) {
      byte[] payload = new byte[bytes.getInt() - 1];
      byte code = bytes.get();
      bytes.get(payload);
      packets.add(new Packet(code, payload));
    }
    return packets;
  }

  private static boolean isBody(IPersistentMap action) {
    Object name = action.valAt(Keys.ACTION);
    return name == ActionType.CHANGE_BODY.keyword || name == REPLACE_BODY_ALIAS;
  }

  private static void write(
      ActionType type, IPersistentMap action, int maximumPayload, Output output) {
    int start = output.size();
    try {
      output.putInt(0).putByte(code(type, action));
      int payload = output.size();
      writePayload(type, action, output);
      int length = output.size() - payload;
      if (length > maximumPayload) {
        throw ActionFields.bad(
            action, "it takes " + length + " bytes, the limit is " + maximumPayload);
      }
      output.setInt(start, 1 + length);
    } catch (Throwable e) {
      output.truncate(start);
      throw e;
    }
  }

  private static byte code(ActionType type, IPersistentMap action) {
    return switch (type) {
      case ADD_HEADER -> action.valAt(Keys.POSITION) == null ? type.code : INSERT_HEADER;
      case ADD_RECIPIENT ->
          action.valAt(Keys.PARAMETERS) == null ? type.code : ADD_RECIPIENT_WITH_PARAMETERS;
      default -> type.code;
    };
  }

  private static void writePayload(ActionType type, IPersistentMap action, Output output) {
    switch (type) {
      case REPLY_CODE -> output.putString(ActionFields.reply(action));
      case ADD_HEADER -> {
        if (action.valAt(Keys.POSITION) != null) {
          output.putInt(ActionFields.number(action, Keys.POSITION, 0));
        }
        output
            .putString(ActionFields.headerName(action))
            .putString(ActionFields.headerValue(action));
      }
      case CHANGE_HEADER ->
          output
              .putInt(ActionFields.number(action, Keys.INDEX, 1))
              .putString(ActionFields.headerName(action))
              .putString(action.valAt(Keys.VALUE) == null ? "" : ActionFields.headerValue(action));
      case ADD_RECIPIENT, CHANGE_SENDER -> {
        output.putString(ActionFields.line(action, Keys.ADDRESS));
        String parameters = ActionFields.parameters(action);
        if (parameters != null) {
          output.putString(parameters);
        }
      }
      case DELETE_RECIPIENT -> output.putString(ActionFields.line(action, Keys.ADDRESS));
      case QUARANTINE -> output.putString(ActionFields.line(action, Keys.REASON));
      default -> {}
    }
  }

  /**
   * {@return the action map of a packet from a milter; a piece of a replaced body is a {@code
   * :change-body} of its own}
   *
   * @param packet as a milter sends it
   * @throws MilterException MALFORMED_PACKET for an unknown reply byte or a payload that does not
   *     fit it
   */
  public static IPersistentMap decode(Packet packet) {
    return ActionDecoder.decode(packet);
  }

  /** {@return an action map of the type with the given keys and values, in turn} */
  static IPersistentMap action(ActionType type, Object... keysAndValues) {
    Object[] entries = new Object[2 + keysAndValues.length];
    entries[0] = Keys.ACTION;
    entries[1] = type.keyword;
    System.arraycopy(keysAndValues, 0, entries, 2, keysAndValues.length);
    return new PersistentArrayMap(entries);
  }
}
