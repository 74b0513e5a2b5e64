package temse.transport.internal;

import java.net.InetAddress;
import java.nio.ByteBuffer;
import java.nio.channels.SelectionKey;
import java.nio.channels.SocketChannel;
import temse.transport.internal.Conversation.End;
import temse.transport.internal.Conversation.Wish;

/**
 * What a loop does for its connections. Carrier, unless a method says otherwise; what is boolean
 * returns whether the calling thread still carries the loop.
 */
final class Attendant {
  private static final int RETURN_ATTEMPTS = 100;
  private static final long RETURN_PAUSE_MILLIS = 10;

  private final EventLoop loop;
  private final SocketServer server;
  private final Tasks tasks;
  private final LoopBuffer buffer;

  Attendant(EventLoop loop, Tasks tasks, LoopBuffer buffer) {
    this.loop = loop;
    this.server = loop.server();
    this.tasks = tasks;
    this.buffer = buffer;
  }

  /** Takes on an accepted connection. */
  boolean adopt(SocketChannel channel, InetAddress counted) {
    SocketLink link;
    try {
      link = new SocketLink(loop, channel, counted);
    } catch (Throwable problem) {
      server.check(problem);
      SocketServer.closeQuietly(channel);
      loop.forget(counted);
      if (!tasks.isClosed()) {
        loop.reportFailure(problem);
      }
      return true;
    }
    return serve(link, Inlet.NOTHING, loop.isStopping() ? Errand.STOP : Errand.OPEN);
  }

  /** The selector has found something possible. */
  boolean serveReady(SocketLink link) {
    if (link.isClosed()) {
      return true;
    }
    loop.setCurrent(link);
    int ready = link.readiness();
    if ((ready & SelectionKey.OP_WRITE) != 0) {
      link.sender().drain(loop.now());
      if (!link.absence().isAway()) {
        return settle(link);
      }
      link.disable();
      return true;
    }
    if ((ready & SelectionKey.OP_READ) != 0) {
      return read(link);
    }
    link.disable();
    return true;
  }

  private boolean read(SocketLink link) {
    loop.setCurrent(link);
    ByteBuffer empty = buffer.empty();
    if (link.wish() == Wish.WAIT) {
      return readEarly(link, empty.limit(Math.min(empty.capacity(), link.inlet().room())));
    }
    int length = link.read(empty);
    return length > 0 ? serve(link, buffer.input(length), Errand.RECEIVE) : settle(link);
  }

  /** Reads while the conversation waits for a value, since the peer may have gone. */
  private boolean readEarly(SocketLink link, ByteBuffer into) {
    if (link.read(into) > 0) {
      link.inlet().keepEarly(into.flip());
    }
    return settle(link);
  }

  /** Reads what came before the stop: it may be the end of the connection, or begin a message. */
  boolean readOnce(SocketLink link) {
    boolean reads = !link.isClosed() && (link.interest() & SelectionKey.OP_READ) != 0;
    return !reads || read(link);
  }

  /** Does an errand in the conversation's turn. */
  boolean inTurn(SocketLink link, Errand errand) {
    if (tasks.isClosed() || link.isClosed()) {
      return true;
    }
    loop.setCurrent(link);
    if (link.absence().isAway()) {
      link.absence().postpone(() -> inTurn(link, errand));
      return true;
    }
    return link.isClosing() ? settle(link) : serve(link, link.inlet().take(), errand);
  }

  private boolean serve(SocketLink link, ByteBuffer bytes, Errand errand) {
    loop.setCurrent(link);
    ByteBuffer mine = buffer.mine();
    link.serve(errand, bytes, loop.now());
    if (!link.userCode().isLent()) {
      return settle(link);
    }
    if (link.userCode().keptBuffer()) {
      server.buffers().give(mine);
    }
    giveBack(link);
    return false;
  }

  /** Does what is wanted for a connection that is at home. */
  boolean settle(SocketLink link) {
    loop.setCurrent(link);
    if (loop.isAbandoned()) {
      link.fail(End.STOPPED, null);
    }
    link.noticeFailure();
    if (link.wish() == Wish.MOVE) {
      if (lend(link, () -> serveAway(link))) {
        return true;
      }
      link.fail(End.FAILED, new IllegalStateException("no thread can be started"));
    }
    if (!link.sender().isCongested()) {
      if (link.wish() == Wish.READ && link.inlet().hasEnded()) {
        link.fail(End.PEER_CLOSED, null);
      }
      if (link.isClosing()) {
        return end(link);
      }
      if (link.wish() == Wish.DRAIN) {
        tasks.post(() -> goOn(link));
      }
    }
    if (link.wish() == Wish.WAIT && link.inlet().reportsEnd()) {
      return serve(link, Inlet.NOTHING, Errand.PEER_CLOSED);
    }
    link.enable();
    loop.schedule(link, link.deadline());
    return true;
  }

  /** The peer has taken all that a conversation wanted to be taken first. */
  private boolean goOn(SocketLink link) {
    boolean waits =
        !link.isClosed()
            && !link.absence().isAway()
            && link.wish() == Wish.DRAIN
            && !link.sender().isCongested();
    return !waits || inTurn(link, Errand.RECEIVE);
  }

  /** Sees to a connection that may be away: another thread has written, or user code has begun. */
  boolean attend(SocketLink link) {
    if (link.isClosed() || tasks.isClosed()) {
      return true;
    }
    if (!link.absence().isAway()) {
      return settle(link);
    }
    loop.setCurrent(link);
    watch(link);
    return true;
  }

  /** Something is due, or was when the timer was set. */
  boolean expire(SocketLink link) {
    if (link.absence().isAway()) {
      return expireAway(link);
    }
    if (link.isClosed()) {
      return true;
    }
    loop.setCurrent(link);
    link.sender().giveUp(loop.now());
    link.noticeFailure();
    return link.isDue(loop.now()) ? serve(link, link.inlet().take(), Errand.EXPIRE) : settle(link);
  }

  private boolean expireAway(SocketLink link) {
    long now = loop.now();
    loop.setCurrent(link);
    if (link.isClosed()) {
      if (!server.spares().hasRoomForEnds()) {
        loop.schedule(link, Nanos.after(now, server.maxBlockedWait()));
        return true;
      }
      return !link.absence().starves(now) || finishHere(link);
    }
    link.sender().giveUp(now);
    if (link.absence().starves(now)) {
      return starve(link);
    }
    link.look(now);
    watch(link);
    return true;
  }

  private boolean starve(SocketLink link) {
    server.countStarved();
    comeHome(link);
    if (!link.isOpen()) {
      link.fail(End.FAILED, new IllegalStateException("no thread came free in time"));
      return settle(link);
    }
    return serve(link, link.inlet().take(), Errand.STARVE);
  }

  /** Has the selector and the timers look after a connection that is away. */
  void watch(SocketLink link) {
    if (!link.isClosed()) {
      link.enable();
    }
    loop.schedule(link, link.absence().deadline(loop.now()));
  }

  private boolean end(SocketLink link) {
    loop.unschedule(link);
    link.close();
    try {
      if (server.suspicion().of(Suspicion.ENDING) && lend(link, link::finish)) {
        return true;
      }
    } catch (OutOfMemoryError noThread) {
      // It is done here.
    }
    return finishHere(link);
  }

  /** Ends a connection at home that an exception came from. */
  boolean drop(SocketLink link, Throwable problem) {
    if (link.isUnfinished()) {
      return finishHere(link);
    }
    if (link.isClosed()) {
      loop.reportFailure(problem);
      return true;
    }
    link.fail(End.FAILED, problem);
    return end(link);
  }

  private boolean finishHere(SocketLink link) {
    link.comeHome();
    loop.setCurrent(link);
    link.finish();
    return !link.userCode().isLent();
  }

  // Lending.

  private boolean lend(SocketLink link, Runnable work) {
    link.lend(work, Nanos.after(loop.now(), server.maxBlockedWait()));
    boolean lent = false;
    try {
      lent = server.spares().lend(work);
    } finally {
      if (!lent) {
        link.comeHome();
      }
    }
    if (lent) {
      watchIfPossible(link);
    }
    return lent;
  }

  private void watchIfPossible(SocketLink link) {
    try {
      watch(link);
    } catch (OutOfMemoryError noTimer) {
      // It waits without a bound.
    }
  }

  /** On a spare thread: serves a connection that was lent to it. */
  private void serveAway(SocketLink link) {
    Errand errand =
        loop.isAbandoning()
            ? Errand.CLOSE
            : link.isOpen() ? Errand.RECEIVE : loop.isStopping() ? Errand.STOP : Errand.OPEN;
    link.serve(errand, link.inlet().take(), System.nanoTime());
    giveBack(link);
  }

  /** On a thread that carries no loop: the connection comes home, even if memory is short. */
  private void giveBack(SocketLink link) {
    for (int attempt = 1; ; attempt++) {
      try {
        tasks.post(() -> takeBack(link));
        return;
      } catch (Throwable problem) {
        if (attempt == RETURN_ATTEMPTS) {
          server.fatal(problem);
          return;
        }
        pause();
      }
    }
  }

  private static void pause() {
    try {
      Thread.sleep(RETURN_PAUSE_MILLIS);
    } catch (InterruptedException hurry) {
      // The next attempt comes sooner.
    }
  }

  private boolean takeBack(SocketLink link) {
    if (tasks.isClosed()) {
      link.fail(End.STOPPED, null);
      link.close();
      link.finish();
      return true;
    }
    loop.setCurrent(link);
    comeHome(link);
    return settle(link);
  }

  private void comeHome(SocketLink link) {
    link.comeHome();
    for (Tasks.Task task; (task = link.absence().pollPostponed()) != null; ) {
      tasks.post(task);
    }
  }
}
