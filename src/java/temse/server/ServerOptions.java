package temse.server;

import java.time.Duration;
import java.util.List;
import temse.transport.Endpoint;
import temse.transport.Nanos;
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

  /**
   * Checks the options.
   *
   * @throws IllegalArgumentException that names the one which is missing or wrong
   */
  public ServerOptions {
    check(endpoints != null && !endpoints.isEmpty(), "endpoints must name one at least");
    check(transport != null, "transport must not be null");
    check(engine != null, "engine must not be null");
    Nanos.of("stopTimeout", stopTimeout);
    endpoints = List.copyOf(endpoints);
  }

  private static void check(boolean holds, String message) {
    if (!holds) {
      throw new IllegalArgumentException(message);
    }
  }

  /** Returns the defaults for one endpoint, 5 s for messages in progress. */
  public static ServerOptions at(Endpoint endpoint) {
    return new ServerOptions(
        List.of(endpoint),
        TransportOptions.builder().build(),
        EngineOptions.DEFAULTS,
        Duration.ofSeconds(5));
  }
}
