package temse.client;

import java.time.Duration;
import java.util.Objects;
import temse.protocol.EventType;

/**
 * What an MTA or the network between does wrong on purpose, so that a milter can be tested for it.
 *
 * <pre>{@code
 * MtaOptions.POSTFIX.withFaults(Fault.split(1), Fault.dropAfter(EventType.MAIL));
 * }</pre>
 */
public sealed interface Fault {
  /**
   * The connection is closed without a word.
   *
   * @param event the event after whose packet it happens, before the milter answers
   */
  record Drop(EventType event) implements Fault {}

  /**
   * Bytes that are no packet of the protocol are sent.
   *
   * @param event the event after whose packet they come
   * @param bytes what is sent
   */
  record Garbage(EventType event, byte[] bytes) implements Fault {}

  /**
   * Bytes arrive in pieces, without regard for packets.
   *
   * @param size bytes in each piece
   * @param pause the time between two pieces
   */
  record Split(int size, Duration pause) implements Fault {
    /**
     * Checks that pieces have a size.
     *
     * @param size in bytes, at least 1
     * @param pause between two pieces
     */
    public Split {
      if (size < 1) {
        throw new IllegalArgumentException("a piece has at least one byte, not " + size);
      }
      Objects.requireNonNull(pause);
    }
  }

  /**
   * The events of a message are sent before the ones before them are answered.
   *
   * @param merged whether their packets travel in one piece
   */
  record Early(boolean merged) implements Fault {}

  /**
   * {@return a fault: the connection is closed without a word when the event has been sent}
   *
   * @param event the last one
   */
  static Fault dropAfter(EventType event) {
    return new Drop(event);
  }

  /**
   * {@return a fault: the bytes are sent when the event has been sent}
   *
   * @param event after which they come
   * @param bytes that are no packet
   */
  static Fault garbageAfter(EventType event, byte[] bytes) {
    return new Garbage(event, bytes);
  }

  /**
   * {@return a fault: all that is sent is cut into pieces}
   *
   * @param size in bytes, at least 1
   */
  static Fault split(int size) {
    return new Split(size, Duration.ZERO);
  }

  /**
   * {@return a fault: all that is sent is cut into pieces, with pauses between them}
   *
   * @param size in bytes, at least 1
   * @param pause between two pieces
   */
  static Fault slow(int size, Duration pause) {
    return new Split(size, pause);
  }

  /**
   * {@return a fault: all events of a message are sent, each by itself, without waiting for
   * answers}
   */
  static Fault early() {
    return new Early(false);
  }

  /**
   * {@return a fault: all events of a message are sent in one piece, without waiting for answers}
   */
  static Fault merge() {
    return new Early(true);
  }
}
