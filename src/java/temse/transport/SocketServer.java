package temse.transport;

import java.io.Closeable;
import java.io.IOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.nio.channels.SocketChannel;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Objects;
import java.util.Queue;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.LongAdder;
import java.util.function.Consumer;
import java.util.function.Function;
import java.util.stream.Stream;

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
  /** How long {@link #stop} waits, after the grace, for threads it has interrupted. */
  private static final long LAST_GRACE = TimeUnit.SECONDS.toNanos(1);

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
  private final Peers peers;
  private final Reserve reserve = new Reserve();
  private final Reserve lastReserve = new Reserve();
  private final Watcher watcher;
  private final Thread watcherThread;
  private final long writeTimeout;
  private final long maxBlockedWait;
  private final EventLoop[] loops;
  private final List<Acceptor> acceptors = new ArrayList<>();
  private final Queue<SocketLink> leftBehind = new ConcurrentLinkedQueue<>();
  private final AtomicInteger running;
  private final StopClock stopClock = new StopClock();
  private final CountDownLatch stopped = new CountDownLatch(1);
  private boolean doomed;
  private final LongAdder accepted = new LongAdder();
  private final LongAdder refused = new LongAdder();
  private final LongAdder refusedPerPeer = new LongAdder();
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
    peers = new Peers(options.maxConnectionsPerPeer());
    loops = new EventLoop[options.loops()];
    watcher = new Watcher(loops, spares, grace, this::fatal);
    watcherThread = new Thread(watcher, options.name() + "-watcher");
    writeTimeout = Nanos.of("writeTimeout", options.writeTimeout());
    maxBlockedWait = Nanos.of("maxBlockedWait", options.maxBlockedWait());
    running = new AtomicInteger(loops.length);
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
        accepted.sum(),
        refused.sum(),
        refusedPerPeer.sum(),
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
    Thread stopper = here ? null : new Thread(this::stopNow, options.name() + "-stop");
    boolean first = stopClock.stopBy(deadline);
    if (!here) {
      if (first) {
        stopper.start();
      }
    } else if (first) {
      stopNow();
    } else {
      awaitStopped();
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
    stopped.await();
  }

  private void stopNow() {
    try {
      forEachLoop(EventLoop::stop);
      if (!stopClock.awaitFinish()) {
        spares.interruptAll();
        forEachLoop(EventLoop::abandon);
        spares.liftLimit();
      }
      boolean finished = stopClock.awaitFinish(LAST_GRACE);
      if (!finished || !spares.awaitEnd(LAST_GRACE)) {
        leaveBehind();
      }
      watcherThread.join(TimeUnit.NANOSECONDS.toMillis(LAST_GRACE));
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
    } finally {
      stopped.countDown();
    }
  }

  /** Closes the sockets that threads in user code still hold, and reports the threads. */
  private void leaveBehind() {
    for (EventLoop loop : loops) {
      try {
        loop.cutAll();
      } catch (IOException | RuntimeException e) {
        listener.failed(e);
      }
    }
    leftBehind.forEach(SocketLink::cut);
    watcher.stop();
    spares.shutdown();
    List<String> threads = spares.running();
    if (!threads.isEmpty()) {
      listener.leftBehind(threads);
    }
  }

  private void forEachLoop(Consumer<EventLoop> action) {
    for (EventLoop loop : loops) {
      action.accept(loop);
    }
  }

  private void awaitStopped() {
    try {
      stopped.await();
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
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

  Peers peers() {
    return peers;
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

  void leaveBehind(SocketLink link) {
    leftBehind.add(link);
  }

  /**
   * Gives an accepted connection to the loop that has the fewest, or refuses it.
   *
   * @param acceptor the loop that has accepted it
   */
  void admit(SocketChannel channel, EventLoop acceptor) {
    accepted.increment();
    InetAddress peer = null;
    boolean entered = false;
    try {
      if (connections() >= options.maxConnections()) {
        refuse(channel, acceptor, "there are " + options.maxConnections() + " connections already");
        return;
      }
      peer = peers.areLimited() ? addressOf(channel) : null;
      entered = peers.enter(peer);
      if (!entered) {
        refusedPerPeer.increment();
        refuse(channel, acceptor, tooMany(peer));
        return;
      }
      leastLoop().add(channel, peer);
    } catch (Throwable problem) {
      closeQuietly(channel);
      if (entered) {
        peers.leave(peer);
      }
      acceptor.reportFailure(problem);
    }
  }

  private String tooMany(InetAddress peer) {
    int limit = options.maxConnectionsPerPeer();
    return "there are " + limit + " connections from " + peer.getHostAddress() + " already";
  }

  private EventLoop leastLoop() {
    EventLoop choice = loops[0];
    for (EventLoop loop : loops) {
      if (loop.connections() < choice.connections()) {
        choice = loop;
      }
    }
    return choice;
  }

  private static InetAddress addressOf(SocketChannel channel) throws IOException {
    return channel.getRemoteAddress() instanceof InetSocketAddress inet ? inet.getAddress() : null;
  }

  /** Closes it in a task of its own, after the report or while the listener blocks. */
  private void refuse(SocketChannel channel, EventLoop acceptor, String why) throws IOException {
    refused.increment();
    String peer = Endpoint.describe(channel.getRemoteAddress());
    acceptor.report(() -> listener.refused(peer, why));
    acceptor.post(
        () -> {
          closeQuietly(channel);
          return true;
        });
  }

  void loopFinished() {
    if (running.decrementAndGet() == 0) {
      watcher.stop();
      spares.shutdown();
      buffers.clear();
      stopClock.finish();
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
