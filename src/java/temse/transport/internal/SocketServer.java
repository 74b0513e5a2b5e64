package temse.transport.internal;

import java.io.Closeable;
import java.io.IOException;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Objects;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.LongAdder;
import java.util.function.Consumer;
import java.util.function.Function;
import java.util.stream.Stream;
import temse.transport.Endpoint;
import temse.transport.TransportOptions;

/**
 * Listens on sockets and lets each connection be served by a {@link Conversation}, on a few event
 * loops that never wait for user code.
 *
 * <pre>{@code
 * try (SocketServer server =
 *     SocketServer.start(
 *         List.of(Endpoint.parse("20025")),
 *         TransportOptions.builder().build(),
 *         link -> new EchoConversation(link),
 *         new TransportListener() {})) {
 *   server.join();
 * }
 * }</pre>
 */
public final class SocketServer implements AutoCloseable {
  /**
   * What has happened so far.
   *
   * @param accepted connections accepted, including those refused
   * @param refused connections closed at once because there were too many
   * @param refusedPerPeer those of them whose peer had too many
   * @param handOvers how often a loop left its thread to blocking user code
   * @param lent how often a connection was given to another thread beforehand, because its user
   *     code was suspected to block
   * @param waits how often that had to wait because too many threads were held
   * @param starved connections that were given up because they waited too long for that
   * @param stalls how often a loop was held up by user code because no thread could be had
   * @param droppedReports reports to the listener that were dropped because it blocked and too many
   *     waited for it
   */
  public record Counters(
      long accepted,
      long refused,
      long refusedPerPeer,
      long handOvers,
      long lent,
      long waits,
      long starved,
      long stalls,
      long droppedReports) {}

  private final TransportOptions options;
  private final Function<? super Link, ? extends Conversation> conversations;
  private final TransportListener listener;
  private final Spares spares;
  private final Suspicion suspicion;
  private final ReadBuffers buffers;
  private final ReportLane reportLane;
  private final Admission admission;
  private final Reserve reserve = new Reserve();
  private final Reserve lastReserve = new Reserve();
  private final Watcher watcher;
  private final Thread watcherThread;
  private final long writeTimeout;
  private final long maxBlockedWait;
  private final EventLoop[] loops;
  private final List<Acceptor> acceptors = new ArrayList<>();
  private final AtomicInteger running;
  private final Stop stop;
  private boolean doomed;
  private final LongAdder handOvers = new LongAdder();
  private final LongAdder starved = new LongAdder();

  private SocketServer(
      TransportOptions options,
      Function<? super Link, ? extends Conversation> conversations,
      TransportListener listener) {
    this.options = options;
    this.conversations = conversations;
    this.listener = new QuietListener(listener, this::check);
    long grace = Nanos.of("blockGrace", options.blockGrace());
    spares = new Spares(options, this::failed);
    suspicion = new Suspicion(grace, spares::isCrowded);
    buffers = new ReadBuffers(2 * options.loops());
    reportLane = new ReportLane(spares, suspicion);
    admission = new Admission(this, options);
    loops = new EventLoop[options.loops()];
    watcher = new Watcher(loops, spares, grace, this::fatal);
    watcherThread = new Thread(watcher, options.name() + "-watcher");
    writeTimeout = Nanos.of("writeTimeout", options.writeTimeout());
    maxBlockedWait = Nanos.of("maxBlockedWait", options.maxBlockedWait());
    running = new AtomicInteger(loops.length);
    stop = new Stop(this, watcherThread);
  }

  /**
   * Listens on the endpoints and starts serving.
   *
   * @param conversations makes the conversation of each connection; if it throws, the connection is
   *     closed and the problem {@linkplain TransportListener#failed reported}
   * @throws IOException that names the endpoint which cannot be listened on; nothing is left open
   */
  public static SocketServer start(
      List<Endpoint> endpoints,
      TransportOptions options,
      Function<? super Link, ? extends Conversation> conversations,
      TransportListener listener)
      throws IOException {
    SocketServer server = new SocketServer(options, conversations, listener);
    try {
      server.open(endpoints);
    } catch (Throwable e) {
      server.closeUnstarted();
      throw e;
    }
    server.run();
    return server;
  }

  private void open(List<Endpoint> endpoints) throws IOException {
    for (int i = 0; i < loops.length; i++) {
      loops[i] = new EventLoop(this);
    }
    for (Endpoint endpoint : endpoints) {
      Acceptor acceptor = Acceptor.open(endpoint, options);
      acceptors.add(acceptor);
      loops[0].add(acceptor);
    }
  }

  private void closeUnstarted() {
    acceptors.forEach(acceptor -> acceptor.close(listener::failed));
    Stream.of(loops).filter(Objects::nonNull).forEach(EventLoop::closeUnstarted);
  }

  private void run() {
    watcherThread.setDaemon(true);
    watcherThread.start();
    forEachLoop(spares::carry);
  }

  /** Returns where it listens, with the ports that were chosen. */
  public List<Endpoint> endpoints() {
    return acceptors.stream().map(Acceptor::endpoint).toList();
  }

  /** Returns the first of {@link #endpoints}. */
  public Endpoint endpoint() {
    return acceptors.get(0).endpoint();
  }

  /** Returns the number of connections whose conversations have not ended. */
  public int connections() {
    int sum = 0;
    for (EventLoop loop : loops) {
      sum += loop.connections();
    }
    return sum;
  }

  /** Returns what has happened so far. */
  public Counters counters() {
    return new Counters(
        admission.accepted(),
        admission.refused(),
        admission.refusedPerPeer(),
        handOvers.sum(),
        spares.lent(),
        spares.waits(),
        starved.sum(),
        watcher.stalls(),
        reportLane.dropped());
  }

  /**
   * Stops. Listening ends at once, idle connections are closed, the others may finish what they are
   * doing within the grace; then they are closed, and user code that still runs is interrupted. If
   * that does not help within a second, its sockets are closed, its threads are left behind, and
   * {@link TransportListener#leftBehind} is called. Returns when that is done.
   *
   * <p>A second call waits for the first, and shortens its grace if its own ends earlier. A call
   * from user code or a listener returns at once, since it cannot wait for itself.
   *
   * @throws IllegalArgumentException if the grace is null or negative; nothing is stopped then
   */
  public void stop(Duration grace) {
    long deadline = Nanos.after(System.nanoTime(), Nanos.of("the grace", grace));
    boolean here = !spares.isCurrentThread();
    Thread stopper = here ? null : new Thread(stop, options.name() + "-stop");
    boolean first = stop.by(deadline);
    if (here && first) {
      stop.run();
    } else if (here) {
      stop.awaitQuietly();
    } else if (first) {
      stopper.start();
    }
  }

  /** Stops without grace. */
  @Override
  public void close() {
    stop(Duration.ZERO);
  }

  /**
   * Waits until the server has been stopped.
   *
   * @throws IllegalStateException if called from user code, which would wait for itself
   */
  public void join() throws InterruptedException {
    if (spares.isCurrentThread()) {
      throw new IllegalStateException("a thread of the server cannot wait for its end");
    }
    stop.await();
  }

  private void forEachLoop(Consumer<EventLoop> action) {
    for (EventLoop loop : loops) {
      action.accept(loop);
    }
  }

  // For the rooms of the server.

  EventLoop[] loops() {
    return loops;
  }

  Conversation converse(Link link) {
    return conversations.apply(link);
  }

  TransportListener listener() {
    return listener;
  }

  Spares spares() {
    return spares;
  }

  ReportLane reportLane() {
    return reportLane;
  }

  Admission admission() {
    return admission;
  }

  Peers peers() {
    return admission.peers();
  }

  Stop stop() {
    return stop;
  }

  Suspicion suspicion() {
    return suspicion;
  }

  ReadBuffers buffers() {
    return buffers;
  }

  Watcher watcher() {
    return watcher;
  }

  /** Returns nanoseconds. */
  long writeTimeout() {
    return writeTimeout;
  }

  /** Returns nanoseconds. */
  long maxBlockedWait() {
    return maxBlockedWait;
  }

  void countHandOver() {
    handOvers.increment();
  }

  void countStarved() {
    starved.increment();
  }

  private void failed(Throwable problem) {
    check(problem);
    listener.failed(problem);
  }

  /**
   * To be called with whatever was thrown before anything is done about it: short memory gives the
   * reserve away, an error of the virtual machine that is not about memory or the stack is fatal.
   */
  void check(Throwable problem) {
    if (problem instanceof OutOfMemoryError) {
      reserve.release();
    } else if (problem instanceof VirtualMachineError && !(problem instanceof StackOverflowError)) {
      fatal(problem);
    }
  }

  Reserve reserve() {
    return reserve;
  }

  /** A thread that the others depend on cannot go on. */
  void fatal(Throwable problem) {
    lastReserve.release();
    if (isFirstFatal()) {
      try {
        options.onFatal().accept(problem);
      } catch (Throwable another) {
        // The server ends all the same.
      }
      new Thread(this::close, options.name() + "-stop").start();
    }
  }

  private synchronized boolean isFirstFatal() {
    boolean first = !doomed;
    doomed = true;
    return first;
  }

  void loopFinished() {
    if (running.decrementAndGet() == 0) {
      watcher.stop();
      spares.shutdown();
      buffers.clear();
      stop.finished();
    }
  }

  static void closeQuietly(Closeable closeable) {
    try {
      closeable.close();
    } catch (IOException e) {
      // It is given up all the same.
    }
  }
}
