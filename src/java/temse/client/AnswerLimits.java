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
   * Returns how long the next packet of the answer to an event may take.
   *
   * @throws SocketTimeoutException if all the time is gone
   */
  Duration patience(EventType event) throws SocketTimeoutException {
    long left = end - System.nanoTime();
    if (left <= 0) {
      throw new SocketTimeoutException(
          "timed out: the answers to this message took more than "
              + timeouts.message().toMillis()
              + " ms together");
    }
    Duration answer = timeouts.answer(event);
    return answer.toNanos() < left ? answer : Duration.ofNanos(left);
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
