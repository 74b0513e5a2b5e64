package temse.transport.internal;

import java.io.IOException;
import java.net.InetAddress;
import java.nio.channels.SelectionKey;
import java.nio.channels.Selector;
import java.nio.channels.SocketChannel;
import java.util.concurrent.atomic.AtomicInteger;
import temse.transport.TransportOptions;
import temse.transport.internal.Conversation.End;

/**
 * Drives many connections on one thread, and leaves that thread when user code blocks it.
 *
 * <p>The thread that runs the loop is its <em>carrier</em>. It selects, reads, calls conversations,
 * which run user code, and writes, one connection after the other. When user code takes longer than
 * the grace, the {@link Watcher} has a spare thread take over: the spare becomes the carrier and
 * goes on with the rest of the round, while the first thread stays with its connection, which is
 * now <em>lent</em> to it. When its call is over it writes the answers itself, gives the connection
 * back through the tasks and becomes a spare. User code that is suspected to block is not even
 * begun on the carrier: its connection is lent to a spare beforehand.
 *
 * <p>The package's description says who may touch what. A loop that cannot go on, because even
 * ending the connection that a problem came from fails, reports it as {@link
 * TransportOptions#onFatal fatal}.
 */
final class EventLoop implements Runnable {
  private final SocketServer server;
  private final Selector selector = Selector.open();
  private final Sockets sockets = new Sockets(selector);
  private final Tasks tasks = new Tasks(selector);
  private final Turn turn = new Turn();
  private final AtomicInteger connections = new AtomicInteger();
  private volatile boolean stopping;
  private volatile boolean abandoning;
  private volatile Thread carrier;

  // Carrier.
  private final Timers timers = new Timers();
  private final LoopBuffer buffer;
  private final Attendant attendant;
  private long now;
  private boolean abandoned;
  private SocketLink current;

  EventLoop(SocketServer server) throws IOException {
    this.server = server;
    this.buffer = new LoopBuffer(server.buffers());
    this.attendant = new Attendant(this, tasks, buffer);
  }

  // Any thread.

  SocketServer server() {
    return server;
  }

  /** Says whether user code runs on the carrier. */
  Turn turn() {
    return turn;
  }

  /** Returns true if the carrier sleeps, waits or is blocked by a lock. */
  boolean waits() {
    return carrier.getState() != Thread.State.RUNNABLE;
  }

  Sockets sockets() {
    return sockets;
  }

  int connections() {
    return connections.get();
  }

  boolean isStopping() {
    return stopping;
  }

  boolean isAbandoning() {
    return abandoning;
  }

  /**
   * Takes on a connection.
   *
   * @param counted the address that it is counted for, or null
   */
  void add(SocketChannel channel, InetAddress counted) {
    connections.incrementAndGet();
    try {
      tasks.post(() -> attendant.adopt(channel, counted));
    } catch (Throwable problem) {
      connections.decrementAndGet();
      throw problem;
    }
  }

  /** Has {@code task} run in the conversation's turn, and the conversation go on then. */
  void later(SocketLink link, Runnable task) {
    Errand errand = Errand.of(task);
    tasks.post(() -> attendant.inTurn(link, errand));
  }

  /** Has the loop see to a connection that it may not know to need it. */
  void attend(SocketLink link) {
    tasks.post(() -> attendant.attend(link));
  }

  /** The conversation of a connection has ended, or there was none. */
  void forget(InetAddress counted) {
    connections.decrementAndGet();
    server.peers().leave(counted);
    server.stop().noticeEnd();
    if (stopping) {
      selector.wakeup();
    }
  }

  /** Has something reported that belongs to no connection. */
  void report(Runnable report) {
    tasks.post(() -> makeReport(report));
  }

  /** Has a task run by the carrier. */
  void post(Tasks.Task task) {
    tasks.post(task);
  }

  /**
   * Ends listening, and goes on with the connections.
   *
   * @param ended is run then
   */
  void stopListening(Runnable ended) {
    tasks.post(
        () -> {
          sockets.forEach(link -> {}, acceptor -> acceptor.finish(this::reportFailure));
          ended.run();
          return true;
        });
  }

  /** Closes what is idle, asks the other conversations to end, and finishes after the last. */
  void stop() {
    tasks.post(() -> stopAll(Errand.STOP));
  }

  /** Ends the connections that are at home and finishes without those that are away. */
  void abandon() {
    abandoning = true;
    tasks.post(
        () -> {
          abandoned = true;
          return stopAll(Errand.CLOSE);
        });
  }

  /**
   * Closes all sockets of a loop that cannot finish: it is given up, or does not leave its thread.
   */
  void cutAll() throws IOException {
    if (tasks.isClosed()) {
      return;
    }
    sockets.forEach(
        link -> {
          link.cut();
          tasks.post(() -> attendant.inTurn(link, Errand.CLOSE));
        },
        acceptor -> acceptor.close(server.listener()::failed));
    sockets.flush();
  }

  // Carrier.

  /** Listens; before the loop runs for the first time. */
  void add(Acceptor acceptor) throws IOException {
    acceptor.register(this);
  }

  void closeUnstarted() {
    SocketServer.closeQuietly(selector);
  }

  Attendant attendant() {
    return attendant;
  }

  /** Returns the time at which the round began. */
  long now() {
    return now;
  }

  boolean isAbandoned() {
    return abandoned;
  }

  /** From now on what runs and what goes wrong belongs to this connection. */
  void setCurrent(SocketLink link) {
    current = link;
  }

  /** What is due already is left to the next round. */
  void schedule(Timers.Timed timed, long due) {
    timers.schedule(timed, Math.max(due, now + 1));
  }

  void unschedule(Timers.Timed timed) {
    timers.remove(timed);
  }

  @Override
  public void run() {
    carrier = Thread.currentThread();
    now = System.nanoTime();
    while (!tasks.isClosed()) {
      if (!goRound()) {
        server.spares().release();
        return;
      }
    }
  }

  /** Goes on with the round where it was left; returns whether this thread still is the carrier. */
  private boolean goRound() {
    try {
      for (SelectionKey key; (key = sockets.pollReady()) != null; ) {
        if (!serveReady(key)) {
          return false;
        }
      }
      for (Tasks.Task task; (task = tasks.poll()) != null; ) {
        current = null;
        if (!task.run()) {
          return false;
        }
      }
      for (Timers.Timed timed; (timed = timers.pollDue(now)) != null; ) {
        current = null;
        if (!timed.fire(now)) {
          return false;
        }
      }
      if (stopping && tasks.isEmpty() && (abandoned || connections.get() == 0)) {
        finish();
      } else {
        select();
      }
      return true;
    } catch (Throwable problem) {
      return drop(problem);
    }
  }

  private void select() throws IOException {
    current = null;
    sockets.select(tasks, timers.millisToNext(now));
    now = System.nanoTime();
    server.reserve().refill();
  }

  private boolean serveReady(SelectionKey key) {
    current = null;
    if (key.attachment() instanceof Acceptor acceptor) {
      acceptor.accept();
      return true;
    }
    return attendant.serveReady((SocketLink) key.attachment());
  }

  /**
   * Closes the connection that an exception came from, if any; the loop goes on. What is done for
   * it needs hardly any memory, and if it fails all the same the loop is given up.
   */
  private boolean drop(Throwable problem) {
    SocketLink link = current;
    current = null;
    try {
      server.check(problem);
      if (sockets.haveFailed()) {
        return giveUp(problem);
      }
      if (link == null) {
        reportFailure(problem);
        return true;
      }
      if (link.absence().isAway()) {
        link.sender().breakOff(End.FAILED, problem);
        return true;
      }
      return attendant.drop(link, problem);
    } catch (Throwable another) {
      return giveUp(another);
    }
  }

  private boolean giveUp(Throwable problem) {
    server.fatal(problem);
    return false;
  }

  /** Returns whether the calling thread still is the carrier. */
  private boolean makeReport(Runnable report) {
    if (tasks.isClosed()) {
      report.run();
      return true;
    }
    if (server.suspicion().of(Suspicion.REPORTS)) {
      server.reportLane().add(report);
      return true;
    }
    current = null;
    long odd = enterUserCode();
    report.run();
    Thread.interrupted();
    return turn.take(odd);
  }

  // Hand-over.

  /** User code begins; returns the number with which the turn is taken back after it. */
  long enterUserCode() {
    buffer.lock();
    long odd = turn.giveAway();
    server.watcher().notice();
    return odd;
  }

  /** On a spare thread: becomes the carrier, unless the user code of that turn is over. */
  void takeOver(long odd) {
    if (!turn.take(odd)) {
      server.spares().release();
      return;
    }
    try {
      leaveToUserCode();
    } catch (Throwable problem) {
      giveUp(problem);
      return;
    }
    run();
  }

  private void leaveToUserCode() {
    buffer.leave();
    now = System.nanoTime();
    server.countHandOver();
    SocketLink link = current;
    server.suspicion().raise(link == null ? Suspicion.REPORTS : link.userCode().kind());
    if (link != null) {
      link.absence().begin();
      attendant.watch(link);
    }
  }

  // Stopping.

  private boolean stopAll(Errand errand) {
    stopping = true;
    sockets.forEach(
        link -> {
          tasks.post(() -> attendant.readOnce(link));
          tasks.post(() -> attendant.inTurn(link, errand));
        },
        acceptor -> acceptor.close(this::reportFailure));
    return true;
  }

  void reportFailure(Throwable problem) {
    report(() -> server.listener().failed(problem));
  }

  private void finish() throws IOException {
    sockets.forEach(this::leaveBehind, acceptor -> {});
    try {
      sockets.close();
    } finally {
      tasks.close();
      current = null;
      server.loopFinished();
    }
  }

  private void leaveBehind(SocketLink link) {
    if (!link.isClosed()) {
      server.stop().leaveBehind(link);
    }
  }
}
