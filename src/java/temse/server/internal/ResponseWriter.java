package temse.server.internal;

import clojure.lang.IPersistentMap;
import java.util.List;
import temse.protocol.Action;
import temse.protocol.ActionCodec;
import temse.protocol.ActionType;
import temse.protocol.Agreement;
import temse.protocol.BodyPieces;
import temse.protocol.EventType;
import temse.protocol.Keys;
import temse.protocol.Packet;
import temse.protocol.PacketSink;
import temse.protocol.ProtocolFlag;
import temse.transport.internal.Output;

/**
 * Puts what answers an event on the wire, as the agreement wants it: modifications first, the reply
 * last, in whole packets.
 *
 * <p>A response without a new body is written at once, all or nothing. One with a new body is
 * written piece by piece, so that a body of any size takes little memory: {@link #write} goes on
 * until enough has been gathered, and is called again when the peer has taken it.
 */
final class ResponseWriter implements AutoCloseable {
  /** What may wait to be written, in bytes. */
  static final int ENOUGH = 64 * 1024;

  private static final byte[] CONTINUE = new Packet('c').toBytes();
  private static final byte[] PROGRESS = new Packet('p').toBytes();
  private static final IPersistentMap CLOSING =
      Action.replyCode(421, "4.7.0", "Service not available, closing transmission channel").map();

  private final EventType event;
  private final List<IPersistentMap> modifications;
  private final BodyPieces body;
  private final IPersistentMap reply;
  private final ActionType type;
  private final Agreement agreement;
  private int next;

  private ResponseWriter(
      EventType event,
      List<IPersistentMap> modifications,
      BodyPieces body,
      IPersistentMap reply,
      ActionType type,
      Agreement agreement) {
    this.event = event;
    this.modifications = modifications;
    this.body = body;
    this.reply = reply;
    this.type = type;
    this.agreement = agreement;
    for (IPersistentMap action : modifications) {
      if (ActionCodec.type(action) != ActionType.CHANGE_BODY) {
        ActionCodec.check(action, agreement.maximumPayload());
      }
    }
    ActionCodec.check(reply, agreement.maximumPayload());
  }

  /**
   * Begins a response with a new body.
   *
   * @return what writes the rest, or null if there is none
   * @throws temse.protocol.MilterException BAD_ACTION if a part of it cannot travel; nothing is
   *     written then
   */
  static ResponseWriter begin(
      EventType event,
      List<IPersistentMap> modifications,
      BodyPieces body,
      IPersistentMap reply,
      ActionType type,
      Agreement agreement,
      Output output) {
    int start = output.size();
    ResponseWriter writer = new ResponseWriter(event, modifications, body, reply, type, agreement);
    try {
      return writer.write(output) ? null : writer;
    } catch (Throwable e) {
      output.truncate(start);
      writer.close();
      throw e;
    }
  }

  /** Writes on until all is written, which returns true, or enough waits to be taken. */
  boolean write(Output output) {
    PacketSink sink = (code, bytes, offset, length) -> put(code, bytes, offset, length, output);
    int enough = output.size() + ENOUGH;
    while (output.size() < enough) {
      if (next == modifications.size()) {
        writeReply(event, reply, type, agreement, output);
        return true;
      }
      IPersistentMap action = modifications.get(next);
      if (ActionCodec.type(action) != ActionType.CHANGE_BODY) {
        encode(spaced(action, agreement), agreement, output);
        next++;
      } else if (!body.next(sink)) {
        next++;
      }
    }
    return false;
  }

  /** Gives the rest up: every source of the new body is closed. */
  @Override
  public void close() {
    body.close();
  }

  /**
   * Writes a response without a new body, all or nothing.
   *
   * @throws temse.protocol.MilterException BAD_ACTION if a part of it cannot travel
   */
  static void write(
      EventType event,
      List<IPersistentMap> modifications,
      IPersistentMap reply,
      ActionType type,
      Agreement agreement,
      Output output) {
    int start = output.size();
    try {
      for (int i = 0; i < modifications.size(); i++) {
        encode(spaced(modifications.get(i), agreement), agreement, output);
      }
      writeReply(event, reply, type, agreement, output);
    } catch (Throwable e) {
      output.truncate(start);
      throw e;
    }
  }

  static void writeProgress(Output output) {
    output.put(PROGRESS);
  }

  static byte[] progress() {
    return PROGRESS;
  }

  static void write(Packet packet, Output output) {
    put(packet.code(), packet.payload(), 0, packet.payload().length, output);
  }

  /** Skip is sent for the body only; elsewhere the engine skips in the MTA's place. */
  private static void writeReply(
      EventType event, IPersistentMap reply, ActionType type, Agreement agreement, Output output) {
    boolean emulated =
        type == ActionType.SKIP && !(event == EventType.BODY && agreement.has(ProtocolFlag.SKIP));
    if (reply == Action.proceed().map()) {
      output.put(CONTINUE);
      return;
    }
    boolean closing = type == ActionType.SHUTDOWN || type == ActionType.CONNECTION_FAILURE;
    if (emulated || closing) {
      ActionCodec.check(reply);
    }
    if (emulated) {
      output.put(CONTINUE);
    } else if (closing) {
      encode(CLOSING, agreement, output);
    } else {
      encode(reply, agreement, output);
    }
  }

  private static void encode(IPersistentMap action, Agreement agreement, Output output) {
    ActionCodec.encode(
        action,
        agreement.maximumPayload(),
        (code, bytes, offset, length) -> put(code, bytes, offset, length, output));
  }

  /** Puts a packet, whole or not at all. */
  private static void put(byte code, byte[] bytes, int offset, int length, Output output) {
    int start = output.size();
    try {
      output.putInt(1 + length).putByte(code).put(bytes, offset, length);
    } catch (Throwable e) {
      output.truncate(start);
      throw e;
    }
  }

  /** Takes off the space that an MTA puts before values although it was asked not to. */
  private static IPersistentMap spaced(IPersistentMap action, Agreement agreement) {
    return agreement.emulatesLeadingSpace()
            && action.valAt(Keys.VALUE) instanceof String value
            && value.startsWith(" ")
        ? action.assoc(Keys.VALUE, value.substring(1))
        : action;
  }
}
