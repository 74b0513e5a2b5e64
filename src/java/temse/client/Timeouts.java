package temse.client;

import java.time.Duration;
import temse.protocol.EventType;

/**
 * How long the MTA side waits for a milter.
 *
 * @param connect for the connection to be made
 * @param write for room to send something in
 * @param reply for each packet of an answer: it must be there in whole
 * @param endOfMessage the same, for the answer to the end of a message
 * @param message for all answers to a message, or to an event outside of one, whatever progress the
 *     milter reports
 */
public record Timeouts(
    Duration connect, Duration write, Duration reply, Duration endOfMessage, Duration message) {
  private static final Duration LEAST_OF_MESSAGE = Duration.ofMinutes(10);

  /**
   * {@return one limit for every wait; those for a message are 10 minutes, or one wait if longer}
   *
   * @param limit positive
   */
  public static Timeouts of(Duration limit) {
    Duration message = limit.compareTo(LEAST_OF_MESSAGE) > 0 ? limit : LEAST_OF_MESSAGE;
    return new Timeouts(limit, limit, limit, limit, message);
  }

  /** {@return how long the next packet of the answer to an event may take} */
  Duration answer(EventType event) {
    return event == EventType.END_OF_MESSAGE ? endOfMessage : reply;
  }
}
