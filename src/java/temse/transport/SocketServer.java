package temse.transport;

import java.io.Closeable;
import java.io.IOException;
import java.nio.channels.SocketChannel;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Objects;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicBoolean;
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
   * @param handOvers how often a loop left its thread to blocking user code
   * @param lent how often a connection was given to another thread beforehand, because its user
   *     code was suspected to block
   * @param waits how often that had to wait because too many threads were held
   * @param stalls how often a loop was held up by user code because too many threads were held
   */
  public record Counters(
      long accepted, long refused, long handOvers, long lent, long waits, long stalls) {}

  private final TransportOptions options;
  private final Function<? super Link, ? extends Conversation> conversations;
  private final TransportListener listener;
  private final Spares spares;
  private final Suspicion suspicion;
  private final ReadBuffers buffers;
  private final Watcher watcher;
  private final Thread watcherThread;
  private final long writeTimeout;
  private final EventLoop[] loops;
  private final List<Acceptor> acceptors = new ArrayList<>();
  private final AtomicInteger running;
  private final AtomicBoolean stopRequested = new AtomicBoolean();
  private final CountDownLatch finished = new CountDownLatch(1);
  private final CountDownLatch stopped = new CountDownLatch(1);
  private final LongAdder accepted = new LongAdder();
  private final LongAdder refused = new LongAdder();
  private final LongAdder handOvers = new LongAdder();

  private SocketServer(
      TransportOptions options,
      Function<? super Link, ? extends Conversation> conversations,
      TransportListener listener) {
    this.options = options;
    this.conversations = conversations;
    this.listener = new QuietListener(listener);
    long grace = options.blockGrace().toNanos();
    spares = new Spares(options, this.listener::failed);
    suspicion = new Suspicion(grace);
    buffers = new ReadBuffers(2 * options.loops());
    loops = new EventLoop[options.loops()];
    watcher = new Watcher(loops, spares, grace);
    watcherThread = new Thread(watcher, options.name() + "-watcher");
    writeTimeout = options.writeTimeout().toNanos();
    running = new AtomicInteger(loops.length);
  }

  /**
   * Listens on the endpoints and starts serving.
   *
   * @param conversations makes the conversation of each connection; called on a loop, must not
   *     block
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
    acceptors.forEach(acceptor -> acceptor.close(listener));
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
        handOvers.sum(),
        spares.lent(),
        spares.waits(),
        watcher.stalls());
  }

  /**
   * Stops. Listening ends at once, idle connections are closed, the others may finish what they are
   * doing within the grace; then they are closed, and user code that still runs is interrupted and,
   * if that does not help, left behind. Returns when that is done.
   *
   * <p>A second call waits for the first. A call from user code or a listener returns at once,
   * since it cannot wait for itself.
   */
  public void stop(Duration grace) {
    boolean first = stopRequested.compareAndSet(false, true);
    if (spares.isCurrentThread()) {
      if (first) {
        new Thread(() -> stopNow(grace), options.name() + "-stop").start();
      }
    } else if (first) {
      stopNow(grace);
    } else {
      await(stopped, Long.MAX_VALUE);
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

  private void stopNow(Duration grace) {
    try {
      if (!grace.isNegative() && !grace.isZero()) {
        forEachLoop(EventLoop::stop);
      }
      if (!await(finished, grace.toNanos())) {
        spares.interruptAll();
        forEachLoop(EventLoop::abandon);
        spares.liftLimit();
      }
      if (await(finished, LAST_GRACE)) {
        spares.awaitEnd(LAST_GRACE);
        watcherThread.join(TimeUnit.NANOSECONDS.toMillis(LAST_GRACE));
      }
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
    } finally {
      stopped.countDown();
    }
  }

  private void forEachLoop(Consumer<EventLoop> action) {
    for (EventLoop loop : loops) {
      action.accept(loop);
    }
  }

  /** Returns false if the time is up, or at once if the thread is interrupted. */
  private static boolean await(CountDownLatch latch, long nanos) {
    try {
      return latch.await(nanos, TimeUnit.NANOSECONDS);
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      return false;
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

  void countHandOver() {
    handOvers.increment();
  }

  /** Gives an accepted connection to the loop that has the fewest, or refuses it. */
  void admit(SocketChannel channel) {
    accepted.increment();
    if (connections() >= options.maxConnections()) {
      refuse(channel, "there are " + options.maxConnections() + " connections already");
      return;
    }
    EventLoop choice = loops[0];
    for (EventLoop loop : loops) {
      if (loop.connections() < choice.connections()) {
        choice = loop;
      }
    }
    choice.add(channel);
  }

  private void refuse(SocketChannel channel, String why) {
    refused.increment();
    try {
      listener.refused(Endpoint.describe(channel.getRemoteAddress()), why);
    } catch (IOException e) {
      listener.failed(e);
    }
    closeQuietly(channel);
  }

  void loopFinished() {
    if (running.decrementAndGet() == 0) {
      watcher.stop();
      spares.shutdown();
      buffers.clear();
      finished.countDown();
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
