package temse.transport.internal;

import java.io.IOException;
import java.util.ArrayList;
import java.util.List;
import java.util.Queue;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.TimeUnit;
import java.util.function.Consumer;

/** The stop of a server: when it is to be over, and what is done for it. */
final class Stop implements Runnable {
  /** How long it waits, after the grace, for threads that it has interrupted. */
  private static final long LAST_GRACE = TimeUnit.SECONDS.toNanos(1);

  private final SocketServer server;
  private final Thread watcherThread;
  private final Queue<SocketLink> leftBehind = new ConcurrentLinkedQueue<>();
  private boolean requested;
  private boolean finished;
  private boolean over;
  private final List<Runnable> whenOver = new ArrayList<>();
  private volatile boolean draining;
  private boolean listeningEnded;
  private long drainEnd = Long.MAX_VALUE;
  private long deadline = Long.MAX_VALUE;

  Stop(SocketServer server, Thread watcherThread) {
    this.server = server;
    this.watcherThread = watcherThread;
  }

  /**
   * Sets the times, unless earlier ones are set; returns true the first time.
   *
   * @param drainEnd until when connections are served as if nothing were
   * @param deadline until when what is in progress then may go on
   */
  synchronized boolean by(long drainEnd, long deadline) {
    boolean first = !requested;
    requested = true;
    this.drainEnd = Math.min(this.drainEnd, drainEnd);
    this.deadline = Math.min(this.deadline, deadline);
    notifyAll();
    return first;
  }

  /** A connection has ended. Any thread. */
  void noticeEnd() {
    if (draining) {
      synchronized (this) {
        notifyAll();
      }
    }
  }

  /** All loops have finished. */
  synchronized void finished() {
    finished = true;
    notifyAll();
  }

  /** A loop finishes without this connection, which is away. */
  void leaveBehind(SocketLink link) {
    leftBehind.add(link);
  }

  /** Stops; only once. */
  @Override
  public void run() {
    try {
      if (mayDrain()) {
        server.stopListening(this::listeningHasEnded);
        awaitConnections();
      }
      forEachLoop(EventLoop::stop);
      if (!awaitFinish()) {
        server.spares().interruptAll();
        forEachLoop(EventLoop::abandon);
        server.spares().liftLimit();
      }
      if (!awaitFinish(LAST_GRACE) || !server.spares().awaitEnd(LAST_GRACE)) {
        cutAll();
      }
      watcherThread.join(TimeUnit.NANOSECONDS.toMillis(LAST_GRACE));
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
    } finally {
      endWait();
    }
  }

  private void endWait() {
    List<Runnable> due;
    synchronized (this) {
      over = true;
      due = List.copyOf(whenOver);
      whenOver.clear();
      notifyAll();
    }
    due.forEach(Runnable::run);
  }

  /** Runs a task when the server has stopped, or now if it has. The task does not throw. */
  void whenOver(Runnable task) {
    synchronized (this) {
      if (!over) {
        whenOver.add(task);
        return;
      }
    }
    task.run();
  }

  synchronized boolean isRequested() {
    return requested;
  }

  /** Waits until the server has stopped. */
  synchronized void await() throws InterruptedException {
    while (!over) {
      wait();
    }
  }

  /** Waits until the server has stopped, or the thread is interrupted. */
  void awaitQuietly() {
    try {
      await();
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
    }
  }

  private synchronized boolean mayDrain() {
    draining = drainEnd > System.nanoTime();
    return draining;
  }

  private synchronized void listeningHasEnded() {
    listeningEnded = true;
    notifyAll();
  }

  /** Waits until the last connection has ended, or for so long. */
  private synchronized void awaitConnections() {
    boolean patient = true;
    while (patient
        && !(listeningEnded && server.connections() == 0)
        && drainEnd > System.nanoTime()) {
      patient = pause(drainEnd);
    }
  }

  private synchronized boolean awaitFinish() {
    while (!finished && deadline > System.nanoTime()) {
      if (!pause(deadline)) {
        return false;
      }
    }
    return finished;
  }

  private synchronized boolean awaitFinish(long nanos) {
    long until = Nanos.after(System.nanoTime(), nanos);
    while (!finished && until > System.nanoTime()) {
      if (!pause(until)) {
        return false;
      }
    }
    return finished;
  }

  /** {@return false if the thread is interrupted: then nothing is waited for} */
  private boolean pause(long until) {
    try {
      TimeUnit.NANOSECONDS.timedWait(this, Math.max(1, until - System.nanoTime()));
      return true;
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      return false;
    }
  }

  /** Closes the sockets that threads in user code still hold, and reports the threads. */
  private void cutAll() {
    for (EventLoop loop : server.loops()) {
      try {
        loop.cutAll();
      } catch (IOException | RuntimeException e) {
        server.listener().failed(e);
      }
    }
    leftBehind.forEach(SocketLink::cut);
    server.watcher().stop();
    server.spares().shutdown();
    List<String> threads = server.spares().running();
    if (!threads.isEmpty()) {
      server.listener().leftBehind(threads);
    }
  }

  private void forEachLoop(Consumer<EventLoop> action) {
    for (EventLoop loop : server.loops()) {
      action.accept(loop);
    }
  }
}
