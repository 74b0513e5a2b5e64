package temse.transport;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.channels.SelectionKey;
import java.nio.channels.Selector;
import java.nio.channels.SocketChannel;
import java.util.ArrayList;
import java.util.List;
import java.util.Set;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.function.Consumer;
import temse.transport.Conversation.End;

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
 * <h2>Who may touch what, and when</h2>
 *
 * <ul>
 *   <li>What is marked "carrier", here and in {@link SocketLink}: the carrier. While user code runs
 *       on it, {@link Turn} decides whether it still is the carrier afterwards. If not it may not
 *       touch any of that again; {@link SocketLink#isLent} tells it so.
 *   <li>What is marked "serving thread" in {@code SocketLink}, the conversation and writing to the
 *       socket: the carrier while the connection is at home, the thread it is lent to while it is
 *       away. Tasks and timers of a connection that is away wait for its return.
 *   <li>The rest: any thread.
 * </ul>
 *
 * <p>Memory effects pass from carrier to carrier with the turn, to a spare with its start, and back
 * with the tasks. The read buffer stays with the loop if it had been consumed when the user code
 * began, else with the thread that is reading it.
 */
final class EventLoop implements Runnable {
  private static final ByteBuffer NO_BUFFER = ByteBuffer.allocate(0);

  private final SocketServer server;
  private final Selector selector = Selector.open();
  private final Tasks tasks = new Tasks(selector);
  private final Turn turn = new Turn();
  private final AtomicInteger connections = new AtomicInteger();
  private volatile boolean stopping;
  private volatile boolean abandoning;

  // Carrier.
  private final Timers timers = new Timers();
  private final List<SelectionKey> ready = new ArrayList<>();
  private final Consumer<SelectionKey> collector = ready::add;
  private int nextReady;
  private long now;
  private boolean abandoned;
  private SocketLink current;
  private ByteBuffer buffer;
  private ByteBuffer input;
  private boolean inputLeft;

  EventLoop(SocketServer server) throws IOException {
    this.server = server;
    readInto(NO_BUFFER);
  }

  // Any thread.

  SocketServer server() {
    return server;
  }

  /** Says whether user code runs on the carrier. */
  Turn turn() {
    return turn;
  }

  int connections() {
    return connections.get();
  }

  boolean isStopping() {
    return stopping;
  }

  /** Takes on a connection. */
  void add(SocketChannel channel) {
    connections.incrementAndGet();
    tasks.post(() -> adopt(channel));
  }

  /** Has {@code task} run in the conversation's turn, and the conversation go on then. */
  void later(SocketLink link, Runnable task) {
    Errand errand = Errand.of(task);
    tasks.post(() -> inTurn(link, errand));
  }

  /** The conversation of a connection has ended. */
  void forget() {
    connections.decrementAndGet();
    if (stopping) {
      selector.wakeup();
    }
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

  // Carrier.

  /** Listens; before the loop runs for the first time. */
  void add(Acceptor acceptor) throws IOException {
    acceptor.register(selector, this);
  }

  void closeUnstarted() {
    SocketServer.closeQuietly(selector);
  }

  @Override
  public void run() {
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
      while (nextReady < ready.size()) {
        if (!serveReady(ready.get(nextReady++))) {
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
    ready.clear();
    nextReady = 0;
    current = null;
    tasks.select(collector, timers.millisToNext(now));
    now = System.nanoTime();
  }

  private boolean serveReady(SelectionKey key) {
    if (key.attachment() instanceof Acceptor acceptor) {
      current = null;
      acceptor.accept();
      return true;
    }
    current = (SocketLink) key.attachment();
    return current.isClosed() || serveReady(current);
  }

  private boolean serveReady(SocketLink link) {
    switch (link.readiness()) {
      case SelectionKey.OP_READ:
        return read(link);
      case SelectionKey.OP_WRITE:
        link.drain(now);
        return settle(link);
      default:
        link.disable();
        return true;
    }
  }

  private boolean read(SocketLink link) {
    if (buffer == NO_BUFFER) {
      readInto(server.buffers().take());
    }
    int length = link.read(buffer.clear());
    if (length < 0) {
      return end(link);
    }
    return length == 0 || serve(link, input.limit(length).position(0), Errand.RECEIVE);
  }

  /** Reads what came before the stop: it may be the end of the connection, or begin a message. */
  private boolean readOnce(SocketLink link) {
    current = link;
    return link.isClosed() || link.interest() != SelectionKey.OP_READ || read(link);
  }

  private boolean serve(SocketLink link, ByteBuffer bytes, Errand errand) {
    current = link;
    ByteBuffer mine = buffer;
    link.serve(errand, bytes, now);
    if (!link.isLent()) {
      return settle(link);
    }
    if (link.keptBuffer()) {
      server.buffers().give(mine);
    }
    giveBack(link);
    return false;
  }

  /** Does what is wanted for a connection that is at home and has been served. */
  private boolean settle(SocketLink link) {
    current = link;
    if (abandoned) {
      link.fail(End.STOPPED, null);
    }
    if (link.wantsToMove()) {
      if (lend(link, () -> serveAway(link))) {
        return true;
      }
      link.fail(End.FAILED, new IllegalStateException("no thread can be started"));
    }
    if (link.isClosing() && link.isDrained()) {
      return end(link);
    }
    link.enable();
    schedule(link, link.deadline());
    return true;
  }

  /** What is due already is left to the next round. */
  void schedule(Timers.Timed timed, long due) {
    timers.schedule(timed, Math.max(due, now + 1));
  }

  boolean expire(SocketLink link) {
    if (link.isClosed() || link.isAway()) {
      return true;
    }
    current = link;
    if (link.isDue(now)) {
      return serve(link, link.takeRest(), Errand.EXPIRE);
    }
    link.giveUpWriting(now);
    return settle(link);
  }

  private boolean inTurn(SocketLink link, Errand errand) {
    if (tasks.isClosed() || link.isClosed()) {
      return true;
    }
    if (link.isAway()) {
      link.postpone(() -> inTurn(link, errand));
      return true;
    }
    return link.isClosing() ? settle(link) : serve(link, link.takeRest(), errand);
  }

  private boolean adopt(SocketChannel channel) {
    SocketLink link;
    try {
      link = new SocketLink(this, channel, selector);
    } catch (Throwable problem) {
      server.listener().failed(problem);
      SocketServer.closeQuietly(channel);
      connections.decrementAndGet();
      return true;
    }
    server.listener().opened(link.peer());
    return stopping ? inTurn(link, Errand.STOP) : settle(link);
  }

  private boolean end(SocketLink link) {
    timers.remove(link);
    link.close();
    if (server.suspicion().ofAny() && lend(link, link::finish)) {
      return true;
    }
    current = link;
    link.finish();
    return !link.isLent();
  }

  /** Closes the connection that an exception came from, if any; the loop goes on. */
  private boolean drop(Throwable problem) {
    SocketLink link = current;
    current = null;
    server.listener().failed(problem);
    if (link == null || link.isAway() || link.isClosed()) {
      return true;
    }
    link.fail(End.FAILED, problem);
    return end(link);
  }

  // Hand-over and lending.

  /** User code begins; returns the number with which the turn is taken back after it. */
  long enterUserCode() {
    inputLeft = input.hasRemaining();
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
    readInto(inputLeft ? NO_BUFFER : buffer);
    current.leaveHome();
    server.countHandOver();
    server.suspicion().raise(current.kind());
    run();
  }

  /** The view that conversations get is never shared by two carriers, even if the bytes are. */
  private void readInto(ByteBuffer bytes) {
    buffer = bytes;
    input = bytes.duplicate().limit(0);
  }

  private boolean lend(SocketLink link, Runnable work) {
    link.lend();
    if (server.spares().lend(work)) {
      return true;
    }
    link.comeHome();
    return false;
  }

  /** On a spare thread: serves a connection that was lent to it. */
  private void serveAway(SocketLink link) {
    link.serve(abandoning ? Errand.CLOSE : Errand.RECEIVE, link.takeRest(), System.nanoTime());
    giveBack(link);
  }

  private void giveBack(SocketLink link) {
    try {
      tasks.post(() -> takeBack(link));
    } catch (Throwable problem) {
      server.listener().failed(problem);
    }
  }

  private boolean takeBack(SocketLink link) {
    if (tasks.isClosed()) {
      link.fail(End.STOPPED, null);
      link.close();
      link.finish();
      return true;
    }
    link.comeHome().forEach(tasks::post);
    return settle(link);
  }

  // Stopping.

  private boolean stopAll(Errand errand) {
    stopping = true;
    Set<SelectionKey> keys = tasks.isClosed() ? Set.of() : selector.keys();
    for (SelectionKey key : keys) {
      if (key.attachment() instanceof SocketLink link) {
        tasks.post(() -> readOnce(link));
        tasks.post(() -> inTurn(link, errand));
      } else {
        ((Acceptor) key.attachment()).close(server.listener());
      }
    }
    return true;
  }

  private void finish() throws IOException {
    try {
      selector.close();
    } finally {
      tasks.close();
      current = null;
      buffer = null;
      input = null;
      server.loopFinished();
    }
  }
}
