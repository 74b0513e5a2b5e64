package temse.server;

import java.util.Optional;
import temse.protocol.Request;

/** Makes the handler of each MTA connection. */
@FunctionalInterface
public interface MilterFactory {
  /**
   * {@return the handler of a connection that has begun to negotiate}
   *
   * @param connection the connection, for reports
   * @throws Exception anything: the connection is closed
   */
  MilterHandler open(ConnectionInfo connection) throws Exception;

  /**
   * {@return what all its handlers will want of their MTAs, or nothing if that differs or is not
   * known before} It is what {@link MilterServer#outdated} knows of connections that have begun no
   * message since.
   */
  default Optional<Request> knownRequest() {
    return Optional.empty();
  }
}
