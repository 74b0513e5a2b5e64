package temse.server;

import java.io.IOException;
import java.time.Duration;
import java.util.List;
import java.util.concurrent.atomic.AtomicLong;
import java.util.stream.Collectors;
import temse.protocol.MilterException;
import temse.transport.Endpoint;
import temse.transport.SocketServer;
import temse.transport.TransportListener;

/**
 * Serves MTAs over sockets.
 *
 * <pre>{@code
 * try (MilterServer server = MilterServer.start(factory, ServerOptions.at(Endpoint.parse("20025")))) {
 *   server.join();
 * }
 * }</pre>
 */
public final class MilterServer implements AutoCloseable {
  private final SocketServer sockets;
  private final ServerCounters counters;
  private final Duration stopTimeout;

  private MilterServer(SocketServer sockets, ServerCounters counters, Duration stopTimeout) {
    this.sockets = sockets;
    this.counters = counters;
    this.stopTimeout = stopTimeout;
  }

  /** Starts a server that logs what happens: see {@link SystemLoggerListener}. */
  public static MilterServer start(MilterFactory factory, ServerOptions options) {
    return start(factory, options, new SystemLoggerListener());
  }

  /**
   * Starts a server and returns when it listens.
   *
   * @throws MilterException BIND_FAILED if an address cannot be listened on
   */
  public static MilterServer start(
      MilterFactory factory, ServerOptions options, ServerListener listener) {
    AtomicLong ids = new AtomicLong();
    ServerCounters counters = new ServerCounters(options.engine());
    try {
      SocketServer sockets =
          SocketServer.start(
              options.endpoints(),
              options.transport(),
              link ->
                  new ConnectionEngine(
                      factory,
                      options.engine(),
                      listener,
                      counters,
                      link,
                      ids.incrementAndGet(),
                      System::nanoTime),
              refusals(listener));
      return new MilterServer(sockets, counters, options.stopTimeout());
    } catch (IOException e) {
      throw new MilterException(
          MilterException.Category.BIND_FAILED,
          e.getMessage(),
          e,
          "address",
          options.endpoints().stream().map(Endpoint::toString).collect(Collectors.joining(", ")));
    }
  }

  private static TransportListener refusals(ServerListener listener) {
    return new TransportListener() {
      @Override
      public void refused(String peer, String why) {
        listener.refused(peer, why);
      }

      @Override
      public void failed(Throwable problem) {
        listener.refused("", problem.toString());
      }
    };
  }

  /** Returns the addresses it listens on, with real port numbers. */
  public List<Endpoint> endpoints() {
    return sockets.endpoints();
  }

  /** Returns the first address. */
  public Endpoint endpoint() {
    return endpoints().get(0);
  }

  /** Returns the first TCP port, or -1 if it listens on Unix-domain sockets only. */
  public int port() {
    for (Endpoint endpoint : endpoints()) {
      if (endpoint instanceof Endpoint.Inet inet) {
        return inet.port();
      }
    }
    return -1;
  }

  /** Returns the number of open connections. */
  public int connections() {
    return sockets.connections();
  }

  /** Returns the sockets' server, for its counters. */
  public SocketServer sockets() {
    return sockets;
  }

  /** Returns what was counted on all connections. */
  public ServerCounters counters() {
    return counters;
  }

  /**
   * Stops: nobody can connect any more, connections between messages are closed, messages in
   * progress may finish for so long. Returns when all is over.
   */
  public void stop(Duration grace) {
    sockets.stop(grace);
  }

  /** Stops with the grace of the options. */
  @Override
  public void close() {
    stop(stopTimeout);
  }

  /** Waits until the server has stopped. */
  public void join() throws InterruptedException {
    sockets.join();
  }
}
