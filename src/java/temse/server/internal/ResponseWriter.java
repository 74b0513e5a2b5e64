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
import temse.protocol.Output;
import temse.protocol.Packet;
import temse.protocol.ProtocolFlag;

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
  private static final Action.Reply CLOSING =
      Action.replyCode(421, "4.7.0", "Service not available, closing transmission channel");

  private final EventType event;
  private final List<Action> modifications;
  private final BodyPieces body;
  private final Action.Reply reply;
  private final Agreement agreement;
  private int next;

  private ResponseWriter(
      EventType event,
      List<Action> modifications,
      BodyPieces body,
      Action.Reply reply,
      Agreement agreement) {
    this.event = event;
    this.modifications = modifications;
    this.body = body;
    this.reply = reply;
    this.agreement = agreement;
    Output none = new Output();
    for (Action action : modifications) {
      if (action.type() != ActionType.CHANGE_BODY) {
        encode(action, agreement, none);
        none.clear();
      }
    }
    encode(reply, agreement, none);
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
      List<Action> modifications,
      BodyPieces body,
      Action.Reply reply,
      Agreement agreement,
      Output output) {
    int start = output.size();
    ResponseWriter writer = new ResponseWriter(event, modifications, body, reply, agreement);
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
    int enough = output.size() + ENOUGH;
    while (output.size() < enough) {
      if (next == modifications.size()) {
        writeReply(event, reply, agreement, output);
        return true;
      }
      Action action = modifications.get(next);
      if (action.type() != ActionType.CHANGE_BODY) {
        encode(action, agreement, output);
        next++;
      } else if (!body.next(output)) {
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
      List<Action> modifications,
      Action.Reply reply,
      Agreement agreement,
      Output output) {
    int start = output.size();
    try {
      for (int i = 0; i < modifications.size(); i++) {
        encode(modifications.get(i), agreement, output);
      }
      writeReply(event, reply, agreement, output);
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

  /** Skip is sent for the body only; elsewhere the engine skips in the MTA's place. */
  private static void writeReply(
      EventType event, Action.Reply reply, Agreement agreement, Output output) {
    if (reply == Action.proceed()) {
      output.put(CONTINUE);
      return;
    }
    ActionType type = reply.type();
    boolean emulated =
        type == ActionType.SKIP && !(event == EventType.BODY && agreement.has(ProtocolFlag.SKIP));
    boolean closing = type == ActionType.SHUTDOWN || type == ActionType.CONNECTION_FAILURE;
    if (emulated || closing) {
      ActionCodec.check(reply.map());
    }
    if (emulated) {
      output.put(CONTINUE);
    } else if (closing) {
      encode(CLOSING, agreement, output);
    } else {
      encode(reply, agreement, output);
    }
  }

  private static void encode(Action action, Agreement agreement, Output output) {
    ActionCodec.encode(
        action.type(), spaced(action.map(), agreement), agreement.maximumPayload(), output);
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
