package temse.protocol;

import clojure.lang.IPersistentMap;
import clojure.lang.PersistentVector;

/** Action maps of the packets that carry them. */
final class ActionDecoder {
  private ActionDecoder() {}

  /**
   * Returns the action map of a packet from a milter; a piece of a replaced body is a {@code
   * :change-body} of its own.
   *
   * @throws MilterException MALFORMED_PACKET for an unknown reply byte or a payload that does not
   *     fit it
   */
  static IPersistentMap decode(Packet packet) {
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
          ActionCodec.action(
              ActionType.ADD_HEADER,
              Keys.NAME,
              reader.readString("the header name"),
              Keys.VALUE,
              reader.readLastString("the header value"));
      case ActionCodec.INSERT_HEADER -> {
        long position = Integer.toUnsignedLong(reader.readInt("the position"));
        yield ActionCodec.action(
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
        yield ActionCodec.action(
            ActionType.CHANGE_HEADER,
            Keys.NAME,
            name,
            Keys.VALUE,
            value.isEmpty() ? null : value,
            Keys.INDEX,
            index);
      }
      case 'b' -> ActionCodec.action(ActionType.CHANGE_BODY, Keys.BODY, packet.payload());
      case '+' ->
          ActionCodec.action(
              ActionType.ADD_RECIPIENT, Keys.ADDRESS, reader.readLastString("the address"));
      case ActionCodec.ADD_RECIPIENT_WITH_PARAMETERS ->
          ActionCodec.action(
              ActionType.ADD_RECIPIENT,
              Keys.ADDRESS,
              reader.readString("the address"),
              Keys.PARAMETERS,
              parameters(reader));
      case '-' ->
          ActionCodec.action(
              ActionType.DELETE_RECIPIENT, Keys.ADDRESS, reader.readLastString("the address"));
      case 'e' -> {
        IPersistentMap change =
            ActionCodec.action(
                ActionType.CHANGE_SENDER, Keys.ADDRESS, reader.readString("the address"));
        yield reader.hasRemaining() ? change.assoc(Keys.PARAMETERS, parameters(reader)) : change;
      }
      case 'q' ->
          ActionCodec.action(
              ActionType.QUARANTINE, Keys.REASON, reader.readLastString("the reason"));
      case 'y' -> ReplyText.parse(reader.readLastString("the reply text"));
      default -> {
        ActionType plain = plainType(packet.code());
        if (plain != null && packet.payload().length > 0) {
          throw reader.malformed("it must have no payload");
        }
        yield plain == null ? null : ActionCodec.action(plain);
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

  private static PersistentVector parameters(PayloadReader reader) {
    String text = reader.hasRemaining() ? reader.readLastString("the parameters") : "";
    return PersistentVector.create((Iterable<?>) EventCodec.words(text));
  }
}
