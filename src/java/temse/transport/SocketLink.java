package temse.transport;

import java.io.IOException;
import java.net.InetAddress;
import java.net.SocketOption;
import java.net.StandardSocketOptions;
import java.nio.ByteBuffer;
import java.nio.channels.SelectionKey;
import java.nio.channels.Selector;
import java.nio.channels.SocketChannel;
import java.util.ArrayDeque;
import java.util.Objects;
import java.util.Queue;
import java.util.Set;
import jdk.net.ExtendedSocketOptions;
import temse.transport.Conversation.End;
import temse.transport.Conversation.Wish;

/**
 * One connection: its socket, its conversation, what waits to be served and to be written. {@link
 * EventLoop} says which thread may call what.
 */
final class SocketLink extends Timers.Timed implements Link {
  /** How often a connection that is away is looked after if nothing else is due. */
  private static final long LOOK = 500_000_000;

  private final SocketServer server;
  private final EventLoop loop;
  private final SocketChannel channel;
  private final String peer;
  private final InetAddress counted;
  private final boolean quickAck;
  private final Sender sender;
  private volatile Conversation conversation;

  // Carrier.
  private final SelectionKey key;
  private final Queue<Tasks.Task> postponed = new ArrayDeque<>(1);
  private boolean away;
  private boolean closed;
  private boolean finished;
  private Runnable awaited;
  private long starvesAt = Long.MAX_VALUE;

  // Serving thread.
  private final Inlet inlet = new Inlet();
  private Wish wish = Wish.READ;
  private End how;
  private Throwable cause;
  private ByteBuffer input;
  private Output output;
  private boolean wrote;
  private boolean lent;
  private boolean keptBuffer;
  private boolean inUserCode;
  private int kind;
  private long turn;
  private long entered;

  /**
   * @param counted the address that the connection is counted for, or null
   */
  SocketLink(EventLoop loop, SocketChannel channel, Selector selector, InetAddress counted)
      throws IOException {
    this.server = loop.server();
    this.loop = loop;
    this.channel = channel;
    this.counted = counted;
    this.peer = Endpoint.describe(channel.getRemoteAddress());
    this.sender = new Sender(channel, server.writeTimeout());
    channel.configureBlocking(false);
    Set<SocketOption<?>> supported = channel.supportedOptions();
    if (supported.contains(StandardSocketOptions.TCP_NODELAY)) {
      channel.setOption(StandardSocketOptions.TCP_NODELAY, true);
      channel.setOption(StandardSocketOptions.SO_KEEPALIVE, true);
    }
    this.quickAck = supported.contains(ExtendedSocketOptions.TCP_QUICKACK);
    this.key = channel.register(selector, SelectionKey.OP_READ, this);
  }

  // Any thread.

  @Override
  public String peer() {
    return peer;
  }

  @Override
  public void later(Runnable task) {
    loop.later(this, task);
  }

  @Override
  public boolean isCongested() {
    return sender.isCongested() || sender.isBroken();
  }

  @Override
  public void writeNow(byte[] packets) {
    send(new Output().put(packets));
  }

  private void send(Output output) {
    if (sender.send(output)) {
      loop.attend(this);
    }
  }

  /** Returns when {@link #look} is wanted at the latest. */
  private long heldDeadline() {
    Conversation present = conversation;
    return present == null ? Long.MAX_VALUE : present.heldDeadline();
  }

  @Override
  public boolean isBroken() {
    return sender.isBroken();
  }

  /** Ends it when the thread that serves it comes to its end. */
  void breakOff(End how, Throwable cause) {
    sender.breakOff(how, cause);
  }

  /** Closes the socket though a thread may still serve the connection. */
  void cut() {
    sender.breakOff(End.STOPPED, null);
    sender.close();
  }

  // Serving thread.

  @Override
  public Output output() {
    return output;
  }

  @Override
  public void flush() {
    if (output.size() > 0) {
      wrote = true;
      send(output);
    }
  }

  @Override
  public boolean enter(int kind) {
    if (!lent && !closed && server.suspicion().of(kind)) {
      return false;
    }
    this.kind = kind;
    inUserCode = true;
    if (!lent) {
      turn = loop.enterUserCode();
      return true;
    }
    entered = System.nanoTime();
    if (heldDeadline() != Long.MAX_VALUE) {
      loop.attend(this);
    }
    return true;
  }

  @Override
  public void leave() {
    inUserCode = false;
    Thread.interrupted();
    if (lent) {
      server.suspicion().ran(kind, System.nanoTime() - entered);
    } else if (!loop.turn().take(turn)) {
      lent = true;
      keptBuffer = input.isDirect() && input.hasRemaining();
    }
  }

  /** Calls the conversation, writes the answers and keeps what remains of the input. */
  void serve(Errand errand, ByteBuffer bytes, long now) {
    input = bytes;
    wrote = false;
    keptBuffer = false;
    try {
      output = Spares.output();
      wish = isOpen() || open() ? errand.run(conversation, bytes, now) : Wish.MOVE;
      while (wish == Wish.MOVE && lent) {
        wish = conversation.receive(bytes, now);
      }
      Objects.requireNonNull(wish, "wish");
      flush();
      keepRest(bytes);
      if (wish == Wish.CLOSE && errand == Errand.PEER_CLOSED) {
        fail(End.PEER_CLOSED, null);
      } else if (quickAck && wish == Wish.READ && !wrote && acknowledgesAtOnce(errand)) {
        channel.setOption(ExtendedSocketOptions.TCP_QUICKACK, true);
      }
    } catch (IOException problem) {
      fail(Sender.endBy(problem), problem);
    } catch (Throwable problem) {
      server.check(problem);
      fail(End.FAILED, problem);
    }
    afterCall();
    noticeFailure();
  }

  private boolean acknowledgesAtOnce(Errand errand) {
    return errand != Errand.OPEN && conversation.acknowledgeAtOnce();
  }

  boolean isOpen() {
    return conversation != null;
  }

  /** Makes the conversation; returns false if that is to be done on another thread. */
  private boolean open() {
    if (!enter(Suspicion.OPENING)) {
      return false;
    }
    try {
      conversation = Objects.requireNonNull(server.converse(this), "conversation");
      server.listener().opened(peer);
    } finally {
      leave();
    }
    return true;
  }

  private void keepRest(ByteBuffer bytes) {
    if (wish == Wish.READ && bytes.hasRemaining()) {
      throw new IllegalStateException("the conversation left input over and wants more");
    }
    if (wish == Wish.CLOSE) {
      inlet.clear();
    } else {
      inlet.keep(bytes);
    }
  }

  /** Tells the conversation and the listener that the connection is over. */
  void finish() {
    finished = true;
    try {
      input = Inlet.NOTHING;
      output = Spares.output();
      Throwable problem = isOpen() ? end() : cause;
      afterCall();
      enter(Suspicion.REPORTS);
      if (problem != null) {
        server.listener().failed(problem);
      }
      if (isOpen()) {
        server.listener().closed(peer, how, cause);
      }
      leave();
    } finally {
      loop.forget(counted);
    }
  }

  private Throwable end() {
    try {
      conversation.ended(how, cause);
      return null;
    } catch (Throwable problem) {
      server.check(problem);
      return problem;
    }
  }

  private void afterCall() {
    if (inUserCode) {
      leave();
    }
    input.position(input.limit());
    if (output != null) {
      output.clear();
      output = null;
    }
  }

  void fail(End how, Throwable cause) {
    sender.breakOff(how, cause);
    noticeFailure();
  }

  /** Ends it if nothing can be sent any more. */
  void noticeFailure() {
    if (sender.isBroken() && how == null) {
      how = sender.how();
      cause = sender.cause();
      wish = Wish.CLOSE;
      inlet.clear();
    }
  }

  boolean isLent() {
    return lent;
  }

  /** Returns whether this thread took the read buffer with it when it lost the loop. */
  boolean keptBuffer() {
    return keptBuffer;
  }

  int kind() {
    return kind;
  }

  // Carrier, while the connection is at home.

  /** Returns the number of bytes read; 0 also if there will be no more. */
  int read(ByteBuffer into) {
    try {
      int length = channel.read(into);
      if (length < 0) {
        inlet.end();
      }
      return Math.max(0, length);
    } catch (IOException e) {
      fail(Sender.endBy(e), e);
      return 0;
    }
  }

  /** Returns the bytes that were kept for the conversation. */
  ByteBuffer takeRest() {
    return inlet.take();
  }

  Inlet inlet() {
    return inlet;
  }

  Wish wish() {
    return wish;
  }

  boolean isClosing() {
    return wish == Wish.CLOSE;
  }

  boolean isDrained() {
    return !sender.isCongested();
  }

  boolean isDue(long now) {
    return !isClosing() && conversation.deadline() <= now;
  }

  long deadline() {
    long deadline = isClosing() ? Long.MAX_VALUE : conversation.deadline();
    return Math.min(deadline, sender.deadline());
  }

  /**
   * @param work what is to be done on another thread
   * @param starvesAt when it has waited too long for one
   */
  void lend(Runnable work, long starvesAt) {
    this.awaited = work;
    this.starvesAt = starvesAt;
    away = true;
    lent = true;
  }

  void close() {
    closed = true;
    if (how == null) {
      how = loop.isStopping() ? End.STOPPED : End.CLOSED_HERE;
    }
    sender.close();
  }

  // Carrier, at any time.

  /** Writes what the socket did not take before. */
  void drain(long now) {
    sender.drain(now);
  }

  void giveUpWriting(long now) {
    sender.giveUp(now);
  }

  /** Returns the operations that are wanted now. */
  int interest() {
    int writing = sender.isCongested() ? SelectionKey.OP_WRITE : 0;
    if (away || inlet.hasEnded()) {
      return writing;
    }
    return switch (wish) {
      case READ -> writing != 0 ? writing : SelectionKey.OP_READ;
      case WAIT -> inlet.room() > 0 ? writing | SelectionKey.OP_READ : writing;
      default -> writing;
    };
  }

  /** Returns the operations that are wanted and possible now. */
  int readiness() {
    return key.readyOps() & interest();
  }

  /**
   * Has the selector look for what is wanted. What is not wanted any more is left enabled, since it
   * seldom comes before it is wanted again, and disabled when it comes.
   */
  void enable() {
    int interest = interest();
    if ((interest & ~key.interestOps()) != 0) {
      key.interestOps(interest);
    }
  }

  void disable() {
    key.interestOps(interest());
  }

  @Override
  boolean fire(long now) {
    return loop.attendant().expire(this);
  }

  boolean isAway() {
    return away;
  }

  boolean isClosed() {
    return closed;
  }

  /** Returns true if it is closed, but its conversation does not know yet. */
  boolean isUnfinished() {
    return closed && !finished;
  }

  void leaveHome() {
    away = true;
  }

  /** Returns true, and it waits no more, if it has waited too long for a thread. */
  boolean starves(long now) {
    return starvesAt <= now && server.spares().withdraw(awaited);
  }

  /** Lets the conversation do what is due while it is held. */
  void look(long now) {
    try {
      if (!closed && heldDeadline() <= now) {
        conversation.held(now);
      }
    } catch (Throwable problem) {
      breakOff(End.FAILED, problem);
      server.check(problem);
    }
  }

  /** Returns when something is due, at the latest, while it is away. */
  long awayDeadline(long now) {
    long starving = starvesAt <= now ? Long.MAX_VALUE : starvesAt;
    if (closed) {
      return starving;
    }
    long next = Math.min(heldDeadline(), sender.deadline());
    return Math.min(Math.min(next, starving), now + LOOK);
  }

  void comeHome() {
    away = false;
    lent = false;
    awaited = null;
    starvesAt = Long.MAX_VALUE;
  }

  void postpone(Tasks.Task task) {
    postponed.add(task);
  }

  /** Returns a task that waited for its return, or null. */
  Tasks.Task pollPostponed() {
    return postponed.poll();
  }
}
