package temse.transport.internal;

import java.io.Closeable;
import java.io.IOException;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Objects;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
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
   * @param refused connections closed at once
   * @param refusedPerPeer those of them whose peer had too many
   * @param refusedByAddress those of them whose peer may not connect
   * @param handOvers how often a loop left its thread to blocking user code
   * @param lent how often a connection was given to another thread beforehand, because its user
   *     code was suspected to block
   * @param waits how often that had to wait because too many threads were held
   * @param starved connections that were given up because they waited too long for that
   * @param stalls how often a loop was held up by user code because no thread could be had
   * @param droppedReports reports to the listener that were dropped because it blocked and too many
   *     waited for it
   * @param bytesRead from all peers
   * @param bytesWritten to all peers
   */
  public record Counters(
      long accepted,
      long refused,
      long refusedPerPeer,
      long refusedByAddress,
      long handOvers,
      long lent,
      long waits,
      long starved,
      long stalls,
      long droppedReports,
      long bytesRead,
      long bytesWritten) {}

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
  private CountDownLatch rounds = new CountDownLatch(0);
  private final LongAdder handOvers = new LongAdder();
  private final LongAdder starved = new LongAdder();
  private final LongAdder bytesRead = new LongAdder();
  private final LongAdder bytesWritten = new LongAdder();

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
   * @param endpoints at least one
   * @param options threads, limits and socket files
   * @param conversations makes the conversation of each connection; if it throws, the connection is
   *     closed and the problem {@linkplain TransportListener#failed reported}
   * @param listener receives reports on connections
   * @return the server
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

  /** {@return where it listens, with the ports that were chosen} */
  public List<Endpoint> endpoints() {
    return acceptors.stream().map(Acceptor::endpoint).toList();
  }

  /** {@return the first of {@link #endpoints}} */
  public Endpoint endpoint() {
    return acceptors.get(0).endpoint();
  }

  /** {@return the number of connections whose conversations have not ended} */
  public int connections() {
    int sum = 0;
    for (EventLoop loop : loops) {
      sum += loop.connections();
    }
    return sum;
  }

  /** {@return what has happened so far} */
  public Counters counters() {
    return new Counters(
        admission.accepted(),
        admission.refused(),
        admission.refusedPerPeer(),
        admission.refusedByAddress(),
        handOvers.sum(),
        spares.lent(),
        spares.waits(),
        starved.sum(),
        watcher.stalls(),
        reportLane.dropped(),
        bytesRead.sum(),
        bytesWritten.sum());
  }

  /**
   * Stops. Listening ends at once, and for the time of the drain connections are served as if
   * nothing were, also those that the system had made already. When that is over, or there are
   * none, idle connections are closed, the others may finish what they are doing within the grace;
   * then they are closed, and user code that still runs is interrupted. If that does not help
   * within a second, its sockets are closed, its threads are left behind, and {@link
   * TransportListener#leftBehind} is called. Returns when that is done.
   *
   * <p>A second call waits for the first, and shortens its grace if its own ends earlier. A call
   * from user code or a listener returns at once, since it cannot wait for itself.
   *
   * @param drain not negative
   * @param grace not negative
   * @throws IllegalArgumentException if one is null or negative; nothing is stopped then
   */
  public void stop(Duration drain, Duration grace) {
    long drainEnd = Nanos.after(System.nanoTime(), Nanos.of("the drain", drain));
    long deadline = Nanos.after(drainEnd, Nanos.of("the grace", grace));
    boolean here = !spares.isCurrentThread();
    Thread stopper = here ? null : new Thread(stop, options.name() + "-stop");
    boolean first = stop.by(drainEnd, deadline);
    if (here && first) {
      stop.run();
    } else if (here) {
      stop.awaitQuietly();
    } else if (first) {
      stopper.start();
    }
  }

  /**
   * Stops without a drain.
   *
   * @param grace not negative
   * @throws IllegalArgumentException if the grace is null or negative; nothing is stopped then
   */
  public void stop(Duration grace) {
    stop(Duration.ZERO, grace);
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
   * @throws InterruptedException if the thread is interrupted meanwhile; the server goes on
   */
  public void join() throws InterruptedException {
    if (spares.isCurrentThread()) {
      throw new IllegalStateException("a thread of the server cannot wait for its end");
    }
    stop.await();
  }

  /** {@return true until a stop begins} */
  public boolean isListening() {
    return !stop.isRequested();
  }

  /**
   * Runs a task when the server has stopped: now, if it has.
   *
   * @param task does not throw
   */
  public void whenStopped(Runnable task) {
    stop.whenOver(task);
  }

  /**
   * {@return true if each loop comes round within the time: what is given to it is done} False once
   * they have ended, too.
   *
   * @param within not negative
   * @throws InterruptedException if the thread is interrupted meanwhile
   */
  public boolean isResponding(Duration within) throws InterruptedException {
    return rounds().await(Nanos.of("within", within), TimeUnit.NANOSECONDS) && running.get() > 0;
  }

  /** Loops that do not come round are not given more and more. */
  private synchronized CountDownLatch rounds() {
    if (rounds.getCount() == 0) {
      CountDownLatch next = new CountDownLatch(loops.length);
      rounds = next;
      forEachLoop(
          loop ->
              loop.post(
                  () -> {
                    next.countDown();
                    return true;
                  }));
    }
    return rounds;
  }

  private void forEachLoop(Consumer<EventLoop> action) {
    for (EventLoop loop : loops) {
      action.accept(loop);
    }
  }

  // For the rooms of the server.

  List<Acceptor> acceptors() {
    return acceptors;
  }

  void stopListening(Runnable ended) {
    loops[0].stopListening(ended);
  }

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

  /** {@return nanoseconds} */
  long writeTimeout() {
    return writeTimeout;
  }

  /** {@return nanoseconds} */
  long maxBlockedWait() {
    return maxBlockedWait;
  }

  LongAdder bytesRead() {
    return bytesRead;
  }

  LongAdder bytesWritten() {
    return bytesWritten;
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
