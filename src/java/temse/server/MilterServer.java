package temse.server;

import java.io.IOException;
import java.time.Duration;
import java.time.Instant;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.concurrent.atomic.AtomicLong;
import java.util.concurrent.atomic.LongAdder;
import java.util.function.Consumer;
import java.util.stream.Collectors;
import temse.protocol.MilterException;
import temse.server.internal.ConnectionEngine;
import temse.server.internal.Counts;
import temse.server.internal.LastResort;
import temse.server.internal.Service;
import temse.server.internal.Succession;
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
  private final Duration drainTimeout;
  private final Duration stopTimeout;
  private final Succession succession;
  private final Instant startedAt = Instant.now();
  private final long startedNanos = System.nanoTime();
  private final LongAdder reloads = new LongAdder();

  private MilterServer(Builder builder) {
    drainTimeout = builder.drainTimeout;
    stopTimeout = builder.stopTimeout;
    transport = builder.transport;
    counts = new Counts(builder.engine);
    succession = new Succession(new Service(builder.factory, builder.engine, builder.listener));
    AtomicLong ids = new AtomicLong();
    try {
      sockets =
          SocketServer.start(
              builder.endpoints,
              transport,
              link ->
                  new ConnectionEngine(
                      succession, counts, link, ids.incrementAndGet(), System::nanoTime),
              refusals(succession));
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

  /**
   * {@return a builder of a server for a milter, with the defaults}
   *
   * @param milter such as a {@link Milter}; called for each connection of an MTA
   */
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
    private Duration drainTimeout = Duration.ZERO;
    private Duration stopTimeout = Duration.ofSeconds(5);

    private Builder(MilterFactory factory) {
      this.factory = Objects.requireNonNull(factory, "milter");
    }

    /**
     * Adds an address to listen on: see {@link Endpoint#parseListening}.
     *
     * @param address such as {@code inet:20025@127.0.0.1} or {@code unix:/run/filter.sock}, or
     *     {@code inherited}
     * @return this builder
     * @throws IllegalArgumentException if it is none
     */
    public Builder listenOn(String address) {
      return listenOn(Endpoint.parseListening(address));
    }

    /**
     * Adds an address to listen on.
     *
     * @param endpoint a TCP port, 0 for any free one, a Unix-domain socket, or the inherited one
     * @return this builder
     */
    public Builder listenOn(Endpoint endpoint) {
      endpoints.add(Objects.requireNonNull(endpoint, "endpoint"));
      return this;
    }

    /**
     * Sets threads, limits and socket files.
     *
     * @param options default: those of {@link TransportOptions#builder}
     * @return this builder
     */
    public Builder transport(TransportOptions options) {
      transport = Objects.requireNonNull(options, "transport");
      return this;
    }

    /**
     * Sets replies, time limits and limits of what an MTA may send.
     *
     * @param options default: {@link EngineOptions#DEFAULTS}
     * @return this builder
     */
    public Builder engine(EngineOptions options) {
      engine = Objects.requireNonNull(options, "engine");
      return this;
    }

    /**
     * Sets what receives reports; default: {@link SystemLoggerListener}, which {@link
     * ServerListener#and} puts beside others.
     *
     * @param reports called on the threads of the server
     * @return this builder
     */
    public Builder listener(ServerListener reports) {
      listener = Objects.requireNonNull(reports, "listener");
      return this;
    }

    /**
     * Sets how long MTAs may go on with their connections when the server is closed, also with
     * further messages; default: 0, they are closed between messages.
     *
     * @param timeout not negative
     * @return this builder
     * @throws IllegalArgumentException if it is negative
     */
    public Builder drainTimeout(Duration timeout) {
      Nanos.of("drainTimeout", timeout);
      drainTimeout = timeout;
      return this;
    }

    /**
     * Sets how long messages in progress may take when the server is closed, and the {@linkplain
     * #drainTimeout drain} is over; default: 5 s.
     *
     * @param timeout not negative
     * @return this builder
     * @throws IllegalArgumentException if it is negative
     */
    public Builder stopTimeout(Duration timeout) {
      Nanos.of("stopTimeout", timeout);
      stopTimeout = timeout;
      return this;
    }

    /**
     * Starts the server.
     *
     * @return the server, which listens
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

  private static TransportListener refusals(Succession succession) {
    return new TransportListener() {
      @Override
      public void refused(String peer, String why) {
        succession.current().listener().refused(peer, why);
      }

      @Override
      public void failed(Throwable problem) {
        succession.current().listener().troubled(problem.toString());
      }

      @Override
      public void leftBehind(List<String> threads) {
        succession
            .current()
            .listener()
            .troubled(
                "stopped, but handlers that ignore interrupts still run in "
                    + String.join(", ", threads));
      }
    };
  }

  /**
   * Serves mail with another milter from now on, without losing any: each message is handled by one
   * milter from its first event to its last.
   *
   * <ul>
   *   <li>MTAs that negotiate from now on get the new milter.
   *   <li>A message in progress ends with the milter that it began with.
   *   <li>An open connection gets the new milter when it begins its next message, or SMTP client.
   *       For the old one the client ends then: {@link temse.protocol.DisconnectReason#REPLACED}.
   *       The new one begins with the state of a new client, and receives the connect and hello
   *       events of the client again. If it refuses or accepts the client there, this answers the
   *       messages that follow.
   *   <li>What was agreed with the MTA of an open connection cannot change. If it lacks something
   *       that the new milter wants, the connection keeps the old one, and is among {@link
   *       #outdated}. So it does if a reply has settled all that its client may send.
   * </ul>
   *
   * <pre>{@code
   * server.replace(newMilter);
   * server.outdated().forEach(System.out::println);
   * }</pre>
   *
   * @param factory makes the handlers
   */
  public void replace(MilterFactory factory) {
    replace(factory, engine(), succession.current().listener());
  }

  /**
   * Serves mail with another milter, as {@link #replace(MilterFactory)} does, and with other
   * options and another listener. How long an open connection may be silent, and how large its
   * packets may be, does not change.
   *
   * @param factory makes the handlers
   * @param engine the options of connections that the milter serves
   * @param listener receives reports on them
   * @throws MilterException BAD_OPTIONS if the options allow another number of bytes for all
   *     unfinished packets together, which stays until the server is started again
   */
  public void replace(MilterFactory factory, EngineOptions engine, ServerListener listener) {
    if (engine.maximumUnfinishedBytes() != engine().maximumUnfinishedBytes()) {
      throw new MilterException(
          MilterException.Category.BAD_OPTIONS,
          "maximumUnfinishedBytes cannot change while the server runs");
    }
    succession.follow(new Service(factory, engine, listener));
    reloads.increment();
  }

  /**
   * Reports each exchange from now on, also of connections that are open, until {@link #unwatch} is
   * called with an equal key. A watcher with an equal key gives way.
   *
   * <p>It is called in the connection's turn, as handlers are: one that blocks holds up this
   * connection and no other, and it may be called by several threads at once. What it throws is
   * counted and reported on stderr, and changes no answer. While nobody watches, nothing is spent
   * for it.
   *
   * <pre>{@code
   * server.watch("mine", exchange -> System.out.println(exchange.event()));
   * }</pre>
   *
   * @param key what {@link #unwatch} knows the watcher by: anything that has {@code equals}
   * @param watcher what receives the exchanges
   */
  public void watch(Object key, Consumer<? super Exchange> watcher) {
    counts.watchers().add(key, watcher);
  }

  /**
   * Ends what {@link #watch} began with an equal key, if anything. A call that has begun is not
   * waited for.
   *
   * @param key the key that the watcher was given
   */
  public void unwatch(Object key) {
    counts.watchers().remove(key);
  }

  /**
   * {@return the open connections that keep a milter which was replaced, by their numbers: those
   * that have begun a message since, and, if the new one has a {@link MilterFactory#knownRequest},
   * those that will because they lack something that it wants}
   */
  public List<OutdatedConnection> outdated() {
    return succession.outdated();
  }

  /** {@return the addresses it listens on, with real port numbers} */
  public List<Endpoint> endpoints() {
    return sockets.endpoints();
  }

  /** {@return the first address} */
  public Endpoint endpoint() {
    return endpoints().get(0);
  }

  /** {@return the first TCP port, or -1 if it listens on Unix-domain sockets only} */
  public int port() {
    for (Endpoint endpoint : endpoints()) {
      if (endpoint instanceof Endpoint.Inet inet) {
        return inet.port();
      }
    }
    return -1;
  }

  /** {@return the options of the sockets and threads} */
  public TransportOptions transport() {
    return transport;
  }

  /** {@return the options with which MTAs that connect now are served} */
  public EngineOptions engine() {
    return succession.current().options();
  }

  /** {@return how long MTAs may go on with their connections when the server is closed} */
  public Duration drainTimeout() {
    return drainTimeout;
  }

  /** {@return how long messages in progress may take when the server is closed, and drained} */
  public Duration stopTimeout() {
    return stopTimeout;
  }

  /** {@return the number of open connections} */
  public int connections() {
    return sockets.connections();
  }

  /** {@return what has happened so far} */
  public ServerCounters counters() {
    SocketServer.Counters sockets = this.sockets.counters();
    return new ServerCounters(
        sockets.accepted(),
        sockets.refused(),
        sockets.refusedPerPeer(),
        sockets.refusedByAddress(),
        counts.probes(),
        Collections.unmodifiableMap(counts.events()),
        Collections.unmodifiableMap(counts.ended()),
        Collections.unmodifiableMap(counts.errors()),
        sockets.bytesRead(),
        sockets.bytesWritten(),
        counts.limitsExceeded(),
        counts.timeouts(),
        counts.listenerFailures(),
        reloads.sum(),
        sockets.handOvers(),
        sockets.lent(),
        sockets.waits(),
        sockets.starved(),
        sockets.stalls(),
        sockets.droppedReports());
  }

  /** {@return the number of events whose handlers wait for a value now, without a thread} */
  public long pendingValues() {
    return counts.pending();
  }

  /** {@return the number of bodies that are in temporary files now} */
  public long spilledBodies() {
    return counts.spilledBodies();
  }

  /** {@return how many bytes {@link #spilledBodies} have together} */
  public long spilledBytes() {
    return counts.spilledOctets();
  }

  /** {@return when the server was started} */
  public Instant startedAt() {
    return startedAt;
  }

  /** {@return how long ago the server was started, whatever has been done to the clock since} */
  public Duration uptime() {
    return Duration.ofNanos(System.nanoTime() - startedNanos);
  }

  /** {@return true until the server begins to stop: MTAs can connect} */
  public boolean isListening() {
    return sockets.isListening();
  }

  /**
   * {@return true if every event loop answers within the time, so that no mail is stuck; false once
   * the server has stopped} Blocks for as long.
   *
   * @param within not negative
   * @throws InterruptedException if the thread is interrupted meanwhile
   */
  public boolean isResponding(Duration within) throws InterruptedException {
    return sockets.isResponding(within);
  }

  /**
   * Has a timer receive how long handlers take, from their next events on; {@link #handlerTimes}
   * has the times of one that keeps them, such as {@code temse.metrics.HandlerHistograms}. A timer
   * that is there already is not added again.
   *
   * @param timer called from now on
   */
  public void measureWith(HandlerTimer timer) {
    counts.timers().addIfAbsent(Objects.requireNonNull(timer, "timer"));
  }

  /**
   * Gives a timer no more times.
   *
   * @param timer one that was given to {@link #measureWith}, or any other, which changes nothing
   */
  public void stopMeasuring(HandlerTimer timer) {
    counts.timers().remove(timer);
  }

  /** {@return what receives the times of handlers} */
  public List<HandlerTimer> timers() {
    return List.copyOf(counts.timers());
  }

  /**
   * {@return how long handlers took, by the names of events such as {@code end-of-message}: what
   * the first timer has kept that keeps anything} Empty if handlers are not measured.
   */
  public Map<String, HandlerTimes> handlerTimes() {
    for (HandlerTimer timer : counts.timers()) {
      Map<String, HandlerTimes> times = timer.times();
      if (!times.isEmpty()) {
        return times;
      }
    }
    return Map.of();
  }

  /**
   * Stops: nobody can connect any more, connections between messages are closed, messages in
   * progress may finish for so long. Returns when all is over.
   *
   * @param grace not negative; connections that need longer are cut
   */
  public void stop(Duration grace) {
    sockets.stop(grace);
  }

  /**
   * Stops: nobody can connect any more, but connections are served as if nothing were until the
   * MTAs have closed them, for the time of the drain. Those that are open then are stopped as
   * {@link #stop(Duration)} has it. Returns when all is over. A later call may shorten both times.
   *
   * <p>An MTA keeps a connection as long as its SMTP client is there; if it is closed earlier, it
   * defers the further mail of that client.
   *
   * @param drain not negative
   * @param grace not negative
   */
  public void stop(Duration drain, Duration grace) {
    sockets.stop(drain, grace);
  }

  /** Stops with the {@link #drainTimeout} and the {@link #stopTimeout}. */
  @Override
  public void close() {
    stop(drainTimeout, stopTimeout);
  }

  /**
   * Runs a task when the server has stopped, or now if it has: to clean up what belongs to it. What
   * the task throws is reported on stderr.
   *
   * @param task may be run by any thread
   */
  public void whenStopped(Runnable task) {
    sockets.whenStopped(
        () -> {
          try {
            task.run();
          } catch (Throwable e) {
            LastResort.report("a task for the end of a server", e);
          }
        });
  }

  /**
   * Waits until the server has stopped.
   *
   * @throws InterruptedException if the thread is interrupted meanwhile; the server goes on
   */
  public void join() throws InterruptedException {
    sockets.join();
  }
}
