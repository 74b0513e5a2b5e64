package temse.server;

import java.io.IOException;
import java.time.Duration;
import java.util.List;
import java.util.concurrent.atomic.AtomicLong;
import java.util.concurrent.atomic.AtomicReference;
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
  private final ServerOptions options;
  private final AtomicReference<Service> service;

  /** What a new connection gets. */
  private record Service(MilterFactory factory, EngineOptions options, ServerListener listener) {}

  private MilterServer(
      SocketServer sockets,
      ServerCounters counters,
      ServerOptions options,
      AtomicReference<Service> service) {
    this.sockets = sockets;
    this.counters = counters;
    this.options = options;
    this.service = service;
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
    AtomicReference<Service> service =
        new AtomicReference<>(new Service(factory, options.engine(), listener));
    try {
      SocketServer sockets =
          SocketServer.start(
              options.endpoints(),
              options.transport(),
              link -> {
                Service now = service.get();
                return new ConnectionEngine(
                    now.factory,
                    now.options,
                    now.listener,
                    counters,
                    link,
                    ids.incrementAndGet(),
                    System::nanoTime);
              },
              refusals(service));
      return new MilterServer(sockets, counters, options, service);
    } catch (IOException e) {
      MilterException failure =
          new MilterException(
              MilterException.Category.BIND_FAILED,
              e.getMessage(),
              "address",
              options.endpoints().stream()
                  .map(Endpoint::toString)
                  .collect(Collectors.joining(", ")));
      failure.addSuppressed(e);
      throw failure;
    }
  }

  private static TransportListener refusals(AtomicReference<Service> service) {
    return new TransportListener() {
      @Override
      public void refused(String peer, String why) {
        service.get().listener.refused(peer, why);
      }

      @Override
      public void failed(Throwable problem) {
        service.get().listener.troubled(problem.toString());
      }

      @Override
      public void leftBehind(List<String> threads) {
        service
            .get()
            .listener
            .troubled(
                "stopped, but handlers that ignore interrupts still run in "
                    + String.join(", ", threads));
      }
    };
  }

  /**
   * Serves MTAs that connect from now on with another factory, other options and another listener.
   * Connections that are open keep theirs.
   *
   * @throws MilterException BAD_OPTIONS if the options allow another number of bytes for all
   *     unfinished packets together, which stays until the server is started again
   */
  public void replace(MilterFactory factory, EngineOptions engine, ServerListener listener) {
    if (engine.maximumUnfinishedBytes != options.engine().maximumUnfinishedBytes) {
      throw new MilterException(
          MilterException.Category.BAD_OPTIONS,
          "maximumUnfinishedBytes cannot change while the server runs");
    }
    service.set(new Service(factory, engine, listener));
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
    stop(options.stopTimeout());
  }

  /** Waits until the server has stopped. */
  public void join() throws InterruptedException {
    sockets.join();
  }
}
