package temse.server;

import java.io.IOException;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Objects;
import java.util.concurrent.atomic.AtomicLong;
import java.util.concurrent.atomic.AtomicReference;
import java.util.stream.Collectors;
import temse.protocol.MilterException;
import temse.server.internal.ConnectionEngine;
import temse.server.internal.Counts;
import temse.transport.Endpoint;
import temse.transport.TransportOptions;
import temse.transport.internal.Nanos;
import temse.transport.internal.SocketServer;
import temse.transport.internal.TransportListener;

/**
 * Serves MTAs over sockets.
 *
 * <pre>{@code
 * MilterServer server = MilterServer.builder(milter).listenOn("inet:20025@127.0.0.1").start();
 * Runtime.getRuntime().addShutdownHook(new Thread(server::close));
 * server.join();
 * }</pre>
 *
 * <p>All methods may be called by any thread.
 */
public final class MilterServer implements AutoCloseable {
  private final SocketServer sockets;
  private final Counts counts;
  private final TransportOptions transport;
  private final Duration stopTimeout;
  private final AtomicReference<Service> service;

  /** What a new connection gets. */
  private record Service(MilterFactory factory, EngineOptions options, ServerListener listener) {}

  private MilterServer(Builder builder) {
    stopTimeout = builder.stopTimeout;
    transport = builder.transport;
    counts = new Counts(builder.engine);
    service = new AtomicReference<>(new Service(builder.factory, builder.engine, builder.listener));
    AtomicLong ids = new AtomicLong();
    try {
      sockets =
          SocketServer.start(
              builder.endpoints,
              transport,
              link -> {
                Service now = service.get();
                return new ConnectionEngine(
                    now.factory,
                    now.options,
                    now.listener,
                    counts,
                    link,
                    ids.incrementAndGet(),
                    System::nanoTime);
              },
              refusals(service));
    } catch (IOException e) {
      MilterException failure =
          new MilterException(
              MilterException.Category.BIND_FAILED,
              e.getMessage(),
              "address",
              builder.endpoints.stream().map(Endpoint::toString).collect(Collectors.joining(", ")));
      failure.addSuppressed(e);
      throw failure;
    }
  }

  /** Returns a builder of a server for a milter, with the defaults. */
  public static Builder builder(MilterFactory milter) {
    return new Builder(milter);
  }

  /** Collects what a server needs. Not thread-safe. */
  public static final class Builder {
    private final MilterFactory factory;
    private final List<Endpoint> endpoints = new ArrayList<>();
    private TransportOptions transport = TransportOptions.builder().build();
    private EngineOptions engine = EngineOptions.DEFAULTS;
    private ServerListener listener = new SystemLoggerListener();
    private Duration stopTimeout = Duration.ofSeconds(5);

    private Builder(MilterFactory factory) {
      this.factory = Objects.requireNonNull(factory, "milter");
    }

    /**
     * Adds an address to listen on: see {@link Endpoint#parse}.
     *
     * @throws IllegalArgumentException if it is none
     */
    public Builder listenOn(String address) {
      return listenOn(Endpoint.parse(address));
    }

    /** Adds an address to listen on. */
    public Builder listenOn(Endpoint endpoint) {
      endpoints.add(Objects.requireNonNull(endpoint, "endpoint"));
      return this;
    }

    /** Sets threads, limits and socket files. */
    public Builder transport(TransportOptions options) {
      transport = Objects.requireNonNull(options, "transport");
      return this;
    }

    /** Sets replies, time limits and limits of what an MTA may send. */
    public Builder engine(EngineOptions options) {
      engine = Objects.requireNonNull(options, "engine");
      return this;
    }

    /**
     * Sets what receives reports; default: {@link SystemLoggerListener}, which {@link
     * ServerListener#and} puts beside others.
     */
    public Builder listener(ServerListener reports) {
      listener = Objects.requireNonNull(reports, "listener");
      return this;
    }

    /**
     * Sets how long messages in progress may take when the server is closed; default: 5 s.
     *
     * @throws IllegalArgumentException if it is negative
     */
    public Builder stopTimeout(Duration timeout) {
      Nanos.of("stopTimeout", timeout);
      stopTimeout = timeout;
      return this;
    }

    /**
     * Starts the server and returns it when it listens.
     *
     * @throws IllegalStateException if no address was given
     * @throws MilterException BIND_FAILED if an address cannot be listened on
     */
    public MilterServer start() {
      if (endpoints.isEmpty()) {
        throw new IllegalStateException("there is no address to listen on: give one with listenOn");
      }
      return new MilterServer(this);
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
    if (engine.maximumUnfinishedBytes() != engine().maximumUnfinishedBytes()) {
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

  /** Returns the options of the sockets and threads. */
  public TransportOptions transport() {
    return transport;
  }

  /** Returns the options with which MTAs that connect now are served. */
  public EngineOptions engine() {
    return service.get().options;
  }

  /** Returns how long messages in progress may take when the server is closed. */
  public Duration stopTimeout() {
    return stopTimeout;
  }

  /** Returns the number of open connections. */
  public int connections() {
    return sockets.connections();
  }

  /** Returns what has happened so far. */
  public ServerCounters counters() {
    SocketServer.Counters sockets = this.sockets.counters();
    return new ServerCounters(
        counts.limitsExceeded(),
        counts.timeouts(),
        counts.listenerFailures(),
        sockets.accepted(),
        sockets.refused(),
        sockets.refusedPerPeer(),
        sockets.handOvers(),
        sockets.lent(),
        sockets.waits(),
        sockets.starved(),
        sockets.stalls(),
        sockets.droppedReports());
  }

  /**
   * Stops: nobody can connect any more, connections between messages are closed, messages in
   * progress may finish for so long. Returns when all is over.
   */
  public void stop(Duration grace) {
    sockets.stop(grace);
  }

  /** Stops with the {@link #stopTimeout}. */
  @Override
  public void close() {
    stop(stopTimeout);
  }

  /** Waits until the server has stopped. */
  public void join() throws InterruptedException {
    sockets.join();
  }
}
