package temse.server;

import clojure.lang.IPersistentMap;
import java.util.List;
import temse.protocol.ActionCodec;
import temse.protocol.ActionType;
import temse.protocol.Actions;
import temse.protocol.Agreement;
import temse.protocol.EventType;
import temse.protocol.Keys;
import temse.protocol.Packet;
import temse.protocol.ProtocolFlag;
import temse.transport.Output;

/** Puts what answers an event on the wire, as the agreement wants it. */
final class ResponseEncoder {
  private static final byte[] CONTINUE = new Packet('c').toBytes();
  private static final byte[] PROGRESS = new Packet('p').toBytes();
  private static final IPersistentMap CLOSING =
      Actions.replyCode(421, "4.7.0", "Service not available, closing transmission channel");

  private ResponseEncoder() {}

  /**
   * Writes the modifications and the reply, all or nothing.
   *
   * @throws temse.protocol.MilterException BAD_ACTION if one of them cannot travel
   */
  static void write(
      EventType event,
      List<IPersistentMap> modifications,
      IPersistentMap reply,
      Agreement agreement,
      Output output) {
    int start = output.size();
    try {
      for (int i = 0; i < modifications.size(); i++) {
        IPersistentMap action = modifications.get(i);
        write(agreement.emulatesLeadingSpace() ? withoutSpace(action) : action, agreement, output);
      }
      writeReply(event, reply, agreement, output);
    } catch (RuntimeException e) {
      output.truncate(start);
      throw e;
    }
  }

  static void writeProgress(Output output) {
    output.put(PROGRESS);
  }

  static void write(Packet packet, Output output) {
    write(packet.code(), packet.payload(), 0, packet.payload().length, output);
  }

  /** Skip is sent for the body only; elsewhere the engine skips in the MTA's place. */
  private static void writeReply(
      EventType event, IPersistentMap reply, Agreement agreement, Output output) {
    ActionType type = ActionCodec.type(reply);
    boolean emulated =
        type == ActionType.SKIP && !(event == EventType.BODY && agreement.has(ProtocolFlag.SKIP));
    if (type == ActionType.CONTINUE || emulated) {
      output.put(CONTINUE);
    } else if (type == ActionType.SHUTDOWN || type == ActionType.CONNECTION_FAILURE) {
      write(CLOSING, agreement, output);
    } else {
      write(reply, agreement, output);
    }
  }

  private static void write(IPersistentMap action, Agreement agreement, Output output) {
    ActionCodec.encode(
        action,
        agreement.maximumPayload(),
        (code, bytes, offset, length) -> write(code, bytes, offset, length, output));
  }

  private static void write(byte code, byte[] bytes, int offset, int length, Output output) {
    output.putInt(1 + length).putByte(code).put(bytes, offset, length);
  }

  private static IPersistentMap withoutSpace(IPersistentMap action) {
    return action.valAt(Keys.VALUE) instanceof String value && value.startsWith(" ")
        ? action.assoc(Keys.VALUE, value.substring(1))
        : action;
  }
}
