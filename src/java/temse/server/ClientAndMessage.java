package temse.server;

import org.jspecify.annotations.Nullable;

/**
 * The state of a milter that keeps one for each SMTP client and one for each message: see {@link
 * Milter#perClientAndMessage}.
 *
 * @param <C> the state that lives as long as the client is there
 * @param <M> the state that begins anew with each message
 * @param client the state of the client
 * @param message the state of the message; null between messages
 */
public record ClientAndMessage<C, M>(C client, @Nullable M message) {
  /**
   * {@return the states with another one of the client}
   *
   * @param other takes its place
   */
  public ClientAndMessage<C, M> withClient(C other) {
    return new ClientAndMessage<>(other, message);
  }

  /**
   * {@return the states with another one of the message}
   *
   * @param other takes its place
   */
  public ClientAndMessage<C, M> withMessage(M other) {
    return new ClientAndMessage<>(client, other);
  }
}
