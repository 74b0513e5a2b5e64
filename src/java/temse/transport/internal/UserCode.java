package temse.transport.internal;

import java.nio.ByteBuffer;

/**
 * User code that runs for a connection: whether it may begin on a loop, and whether the loop has
 * left the thread when it is over. For the thread that serves the connection.
 */
final class UserCode {
  private final EventLoop loop;
  private final Suspicion suspicion;
  private boolean lent;
  private boolean running;
  private boolean keptBuffer;
  private int kind;
  private long turn;
  private long entered;

  UserCode(EventLoop loop, Suspicion suspicion) {
    this.loop = loop;
    this.suspicion = suspicion;
  }

  /** A call of the conversation begins. */
  void begin() {
    keptBuffer = false;
  }

  /**
   * User code is about to run; returns false if it must not run on this thread.
   *
   * @param ending whether the connection is over: then it runs on any thread, and all that runs is
   *     of one kind
   */
  boolean enter(int kind, boolean ending) {
    if (!lent && !ending && suspicion.of(kind)) {
      return false;
    }
    this.kind = ending ? Suspicion.ENDING : kind;
    running = true;
    if (lent) {
      entered = System.nanoTime();
    } else {
      turn = loop.enterUserCode();
    }
    return true;
  }

  /**
   * User code is over.
   *
   * @param input what the conversation is reading
   */
  void leave(ByteBuffer input) {
    running = false;
    Thread.interrupted();
    if (lent) {
      suspicion.ran(kind, System.nanoTime() - entered);
    } else if (!loop.turn().take(turn)) {
      lent = true;
      keptBuffer = input.isDirect() && input.hasRemaining();
    }
  }

  /** The call of the conversation is over, and with it user code that was not left. */
  void end(ByteBuffer input) {
    if (running) {
      leave(input);
    }
  }

  /** Returns true if this thread carries no loop. */
  boolean isLent() {
    return lent;
  }

  /** Returns whether this thread took the read buffer with it when it lost the loop. */
  boolean keptBuffer() {
    return keptBuffer;
  }

  /** Returns the kind of what runs. */
  int kind() {
    return kind;
  }

  /** From now on the connection is served by a thread that carries no loop, or by a loop again. */
  void lend(boolean lent) {
    this.lent = lent;
  }
}
