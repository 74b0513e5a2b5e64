package temse.transport;

import java.io.IOException;
import java.net.SocketOption;
import java.net.SocketTimeoutException;
import java.net.StandardSocketOptions;
import java.nio.ByteBuffer;
import java.nio.channels.SelectionKey;
import java.nio.channels.Selector;
import java.nio.channels.SocketChannel;
import java.util.ArrayList;
import java.util.List;
import java.util.Objects;
import java.util.Set;
import jdk.net.ExtendedSocketOptions;

/**
 * One connection: its socket, its conversation, what waits to be served and to be written. {@link
 * EventLoop} says which thread may call what.
 */
final class SocketLink extends Timers.Timed implements Link {
  private static final ByteBuffer NOTHING = ByteBuffer.allocate(0);

  private final SocketServer server;
  private final EventLoop loop;
  private final SocketChannel channel;
  private final String peer;
  private final boolean quickAck;
  private final Conversation conversation;

  // Carrier.
  private final SelectionKey key;
  private final List<Tasks.Task> postponed = new ArrayList<>(0);
  private boolean away;
  private boolean closed;

  // Serving thread.
  private Conversation.Wish wish = Conversation.Wish.READ;
  private Conversation.End how;
  private Throwable cause;
  private ByteBuffer input = NOTHING;
  private ByteBuffer rest = NOTHING;
  private Output output;
  private Output backlog;
  private long writeDeadline;
  private boolean wrote;
  private boolean lent;
  private boolean keptBuffer;
  private boolean inUserCode;
  private int kind;
  private long turn;
  private long entered;

  SocketLink(EventLoop loop, SocketChannel channel, Selector selector) throws IOException {
    this.server = loop.server();
    this.loop = loop;
    this.channel = channel;
    this.peer = Endpoint.describe(channel.getRemoteAddress());
    channel.configureBlocking(false);
    Set<SocketOption<?>> supported = channel.supportedOptions();
    if (supported.contains(StandardSocketOptions.TCP_NODELAY)) {
      channel.setOption(StandardSocketOptions.TCP_NODELAY, true);
      channel.setOption(StandardSocketOptions.SO_KEEPALIVE, true);
    }
    this.quickAck = supported.contains(ExtendedSocketOptions.TCP_QUICKACK);
    this.key = channel.register(selector, SelectionKey.OP_READ, this);
    this.conversation = server.converse(this);
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

  // Serving thread.

  @Override
  public Output output() {
    return output;
  }

  @Override
  public void flush() {
    if (output.size() == 0) {
      return;
    }
    wrote = true;
    try {
      if (how != null || backlog == null && output.writeTo(channel)) {
        return;
      }
      if (backlog == null) {
        backlog = new Output();
        writeDeadline = System.nanoTime() + server.writeTimeout();
      }
      backlog.take(output);
    } catch (IOException e) {
      fail(e);
    } finally {
      output.clear();
    }
  }

  @Override
  public boolean enter(int kind) {
    if (!lent && !closed && server.suspicion().of(kind)) {
      return false;
    }
    this.kind = kind;
    inUserCode = true;
    if (lent) {
      entered = System.nanoTime();
    } else {
      turn = loop.enterUserCode();
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
    output = Spares.output();
    input = bytes;
    wrote = false;
    keptBuffer = false;
    try {
      wish = errand.run(conversation, bytes, now);
      while (wish == Conversation.Wish.MOVE && lent) {
        wish = conversation.receive(bytes, now);
      }
      Objects.requireNonNull(wish, "wish");
      flush();
      rest = rest(bytes);
      if (quickAck
          && !wrote
          && wish == Conversation.Wish.READ
          && conversation.acknowledgeAtOnce()) {
        channel.setOption(ExtendedSocketOptions.TCP_QUICKACK, true);
      }
    } catch (Throwable problem) {
      fail(Conversation.End.FAILED, problem);
    }
    afterCall();
    if (how != null) {
      wish = Conversation.Wish.CLOSE;
    }
  }

  private ByteBuffer rest(ByteBuffer bytes) {
    if (!bytes.hasRemaining() || wish == Conversation.Wish.CLOSE) {
      return NOTHING;
    }
    if (wish == Conversation.Wish.READ) {
      throw new IllegalStateException("the conversation left input over and wants more");
    }
    return bytes.isDirect()
        ? ByteBuffer.allocate(bytes.remaining()).put(bytes).flip()
        : bytes.slice();
  }

  /** Tells the conversation that the connection is over. */
  void finish() {
    output = Spares.output();
    try {
      conversation.ended(how, cause);
    } catch (Throwable problem) {
      server.listener().failed(problem);
    }
    afterCall();
    server.listener().closed(peer, how, cause);
    loop.forget();
  }

  private void afterCall() {
    if (inUserCode) {
      leave();
    }
    input.position(input.limit());
    input = NOTHING;
    output.clear();
    output = null;
  }

  void fail(Conversation.End how, Throwable cause) {
    if (this.how == null) {
      this.how = how;
      this.cause = cause;
    }
    wish = Conversation.Wish.CLOSE;
    backlog = null;
    rest = NOTHING;
  }

  private void fail(IOException e) {
    String message = String.valueOf(e.getMessage());
    if (message.contains("reset") || message.contains("Broken pipe")) {
      fail(Conversation.End.PEER_CLOSED, e);
    } else {
      fail(Conversation.End.FAILED, e);
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

  /** Returns the number of bytes read, negative if the connection is over. */
  int read(ByteBuffer into) {
    try {
      int length = channel.read(into);
      if (length < 0) {
        fail(Conversation.End.PEER_CLOSED, null);
      }
      return length;
    } catch (IOException e) {
      fail(e);
      return -1;
    }
  }

  /** Writes what the socket did not take before. */
  void drain(long now) {
    int size = backlog.size();
    try {
      if (backlog.writeTo(channel)) {
        backlog = null;
      } else if (backlog.size() < size) {
        writeDeadline = now + server.writeTimeout();
      }
    } catch (IOException e) {
      fail(e);
    }
  }

  void giveUpWriting(long now) {
    if (backlog != null && writeDeadline <= now) {
      String problem = "the peer took none of " + backlog.size() + " bytes in time";
      fail(Conversation.End.TIMED_OUT, new SocketTimeoutException(problem));
    }
  }

  ByteBuffer takeRest() {
    ByteBuffer taken = rest;
    rest = NOTHING;
    return taken;
  }

  boolean wantsToMove() {
    return wish == Conversation.Wish.MOVE;
  }

  boolean isClosing() {
    return wish == Conversation.Wish.CLOSE;
  }

  boolean isDrained() {
    return backlog == null;
  }

  boolean isDue(long now) {
    return !isClosing() && conversation.deadline() <= now;
  }

  long deadline() {
    long deadline = isClosing() ? Long.MAX_VALUE : conversation.deadline();
    return backlog == null ? deadline : Math.min(deadline, writeDeadline);
  }

  void lend() {
    away = true;
    lent = true;
  }

  void close() {
    closed = true;
    if (how == null) {
      how = loop.isStopping() ? Conversation.End.STOPPED : Conversation.End.CLOSED_HERE;
    }
    SocketServer.closeQuietly(channel);
  }

  // Carrier, at any time.

  /** Returns the operation that is wanted now, or 0. */
  int interest() {
    if (away) {
      return 0;
    }
    if (backlog != null) {
      return SelectionKey.OP_WRITE;
    }
    return wish == Conversation.Wish.READ ? SelectionKey.OP_READ : 0;
  }

  /** Returns the operation that is wanted and possible now, or 0. */
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
    return loop.expire(this);
  }

  boolean isAway() {
    return away;
  }

  boolean isClosed() {
    return closed;
  }

  void leaveHome() {
    away = true;
  }

  /** Returns the tasks that waited for it. */
  List<Tasks.Task> comeHome() {
    away = false;
    lent = false;
    List<Tasks.Task> waited = List.copyOf(postponed);
    postponed.clear();
    return waited;
  }

  void postpone(Tasks.Task task) {
    postponed.add(task);
  }
}
