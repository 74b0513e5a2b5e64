package temse.transport.internal;

import java.io.IOException;
import java.net.InetAddress;
import java.net.SocketOption;
import java.nio.ByteBuffer;
import java.nio.channels.SelectionKey;
import java.nio.channels.SocketChannel;
import java.util.Objects;
import temse.protocol.Output;
import temse.transport.Endpoint;
import temse.transport.internal.Conversation.End;
import temse.transport.internal.Conversation.Wish;

/**
 * One connection: its socket, its conversation, what waits to be served and to be written. {@link
 * EventLoop} says which thread may call what.
 */
final class SocketLink extends Timers.Timed implements Link {
  private final SocketServer server;
  private final EventLoop loop;
  private final SocketChannel channel;
  private final String peer;
  private final InetAddress counted;
  private final SocketOption<Boolean> quickAck;
  private final Sender sender;
  private volatile Conversation conversation;

  // Carrier.
  private final SelectionKey key;
  private final Absence absence;
  private boolean closed;
  private boolean finished;

  // Serving thread.
  private final Inlet inlet = new Inlet();
  private final UserCode userCode;
  private Wish wish = Wish.READ;
  private End how;
  private Throwable cause;
  private ByteBuffer input;
  private Output output;
  private boolean wrote;

  /**
   * @param counted the address that the connection is counted for, or null
   */
  SocketLink(EventLoop loop, SocketChannel channel, InetAddress counted) throws IOException {
    this.server = loop.server();
    this.loop = loop;
    this.channel = channel;
    this.counted = counted;
    this.peer = Endpoint.describe(channel.getRemoteAddress());
    this.sender = new Sender(channel, server.writeTimeout(), server.bytesWritten());
    this.absence = new Absence(this, server.spares());
    this.userCode = new UserCode(loop, server.suspicion());
    Sockets.configure(channel);
    this.quickAck = Sockets.quickAck(channel);
    this.key = loop.sockets().register(channel, SelectionKey.OP_READ, this);
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

  /** {@return when {@link #look} is wanted at the latest} */
  long heldDeadline() {
    Conversation present = conversation;
    return present == null ? Long.MAX_VALUE : present.heldDeadline();
  }

  /** If it breaks, the connection ends when the thread that serves it has done its part. */
  Sender sender() {
    return sender;
  }

  @Override
  public boolean isBroken() {
    return sender.isBroken();
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
    boolean enters = userCode.enter(kind, closed);
    if (enters && userCode.isLent() && heldDeadline() != Long.MAX_VALUE) {
      loop.attend(this);
    }
    return enters;
  }

  @Override
  public void leave() {
    userCode.leave(input);
  }

  /** Calls the conversation, writes the answers and keeps what remains of the input. */
  void serve(Errand errand, ByteBuffer bytes, long now) {
    input = bytes;
    wrote = false;
    userCode.begin();
    try {
      output = Spares.output();
      wish = isOpen() || open() ? errand.run(conversation, bytes, now) : Wish.MOVE;
      while (wish == Wish.MOVE && userCode.isLent()) {
        wish = conversation.receive(bytes, now);
      }
      Objects.requireNonNull(wish, "wish");
      flush();
      keepRest(bytes);
      if (wish == Wish.CLOSE && errand == Errand.PEER_CLOSED) {
        fail(End.PEER_CLOSED, null);
      } else if (quickAck != null && wish == Wish.READ && !wrote && acknowledgesAtOnce(errand)) {
        channel.setOption(quickAck, true);
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

  /** Notifies the conversation and the listener that the connection is over. */
  void finish() {
    finished = true;
    try {
      input = Inlet.NOTHING;
      output = Spares.output();
      Throwable problem = isOpen() ? end() : cause;
      afterCall();
      enter(Suspicion.ENDING);
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
    userCode.end(input);
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

  UserCode userCode() {
    return userCode;
  }

  // Carrier, while the connection is at home.

  /** {@return the number of bytes read; 0 also if there will be no more} */
  int read(ByteBuffer into) {
    try {
      int length = channel.read(into);
      if (length < 0) {
        inlet.end();
      } else {
        server.bytesRead().add(length);
      }
      return Math.max(0, length);
    } catch (IOException e) {
      fail(Sender.endBy(e), e);
      return 0;
    }
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

  boolean isDue(long now) {
    return !isClosing() && conversation.deadline() <= now;
  }

  long deadline() {
    long deadline = isClosing() ? Long.MAX_VALUE : conversation.deadline();
    return Math.min(deadline, sender.deadline());
  }

  /** Has it served on another thread; see {@link Absence}. */
  void lend(Runnable work, long starvesAt) {
    absence.begin(work, starvesAt);
    userCode.lend(true);
  }

  void close() {
    closed = true;
    if (how == null) {
      how = loop.isStopping() ? End.STOPPED : End.CLOSED_HERE;
    }
    sender.close();
  }

  // Carrier, at any time.

  /** {@return the operations that are wanted now} */
  int interest() {
    int writing = sender.isCongested() ? SelectionKey.OP_WRITE : 0;
    if (absence.isAway() || inlet.hasEnded()) {
      return writing;
    }
    return switch (wish) {
      case READ -> writing != 0 ? writing : SelectionKey.OP_READ;
      case WAIT -> inlet.room() > 0 ? writing | SelectionKey.OP_READ : writing;
      default -> writing;
    };
  }

  /** {@return the operations that are wanted and possible now} */
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

  boolean isClosed() {
    return closed;
  }

  /** {@return true if it is closed, but its conversation does not know yet} */
  boolean isUnfinished() {
    return closed && !finished;
  }

  Absence absence() {
    return absence;
  }

  /** Lets the conversation do what is due while it is held. */
  void look(long now) {
    try {
      if (!closed && heldDeadline() <= now) {
        conversation.held(now);
      }
    } catch (Throwable problem) {
      sender.breakOff(End.FAILED, problem);
      server.check(problem);
    }
  }

  void comeHome() {
    absence.end();
    userCode.lend(false);
  }
}
