package temse.client;

import java.io.IOException;
import java.net.SocketTimeoutException;
import java.time.Duration;
import temse.protocol.ActionType;
import temse.protocol.EventType;
import temse.protocol.Packet;

/** How long a milter may take to answer, and how much it may answer. */
final class AnswerLimits {
  private static final long PACKET_OCTETS = 200;
  private static final int MOST_PROGRESS = 1000;

  private final Timeouts timeouts;
  private final long most = Runtime.getRuntime().maxMemory() / 4;
  private long end;
  private long taken;
  private int progress;

  AnswerLimits(Timeouts timeouts) {
    this.timeouts = timeouts;
    this.end = System.nanoTime() + timeouts.message().toNanos();
  }

  /** Learns that an event was sent: time is counted anew from MAIL on, and outside a message. */
  void sent(EventType type) {
    taken = 0;
    progress = 0;
    if (type == EventType.MAIL || !type.inMessage()) {
      end = System.nanoTime() + timeouts.message().toNanos();
    }
  }

  /**
   * Returns the next packet of the answer to an event, or null if the milter has closed.
   *
   * @throws SocketTimeoutException if it takes too long, by itself or with the others
   */
  Packet read(Wire wire, EventType event) throws IOException {
    Duration answer = timeouts.answer(event);
    Duration left = Duration.ofNanos(end - System.nanoTime());
    if (answer.compareTo(left) <= 0) {
      return wire.read(answer);
    }
    try {
      if (left.isNegative()) {
        throw new SocketTimeoutException();
      }
      return wire.read(left);
    } catch (SocketTimeoutException e) {
      throw new SocketTimeoutException(
          "timed out: the answers to this message took more than "
              + timeouts.message().toMillis()
              + " ms together");
    }
  }

  /**
   * Learns of a packet, and returns whether it is to be kept: not all of many that report progress
   * are.
   *
   * @throws IOException if the answer takes too much memory
   */
  boolean keeps(Packet packet) throws IOException {
    if (packet.code() == ActionType.PROGRESS.code) {
      return ++progress <= MOST_PROGRESS;
    }
    taken += packet.payload().length + PACKET_OCTETS;
    if (taken > most) {
      throw new IOException("the milter's answer to one event takes more than " + most + " bytes");
    }
    return true;
  }
}
