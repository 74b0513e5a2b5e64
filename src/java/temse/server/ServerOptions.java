package temse.server;

import java.time.Duration;
import java.util.List;
import temse.transport.Endpoint;
import temse.transport.TransportOptions;

/**
 * How a server listens, carries bytes and serves connections.
 *
 * @param endpoints where it listens
 * @param transport threads, limits and socket files
 * @param engine replies, time limits and packet sizes
 * @param stopTimeout how long messages in progress may take when it is closed
 */
public record ServerOptions(
    List<Endpoint> endpoints,
    TransportOptions transport,
    EngineOptions engine,
    Duration stopTimeout) {

  /** Returns the defaults for one endpoint, 5 s for messages in progress. */
  public static ServerOptions at(Endpoint endpoint) {
    return new ServerOptions(
        List.of(endpoint),
        TransportOptions.builder().build(),
        EngineOptions.DEFAULTS,
        Duration.ofSeconds(5));
  }
}
