package temse.transport.internal;

import java.io.IOException;
import java.net.SocketTimeoutException;
import java.nio.ByteBuffer;
import java.nio.channels.ClosedChannelException;
import java.nio.channels.SocketChannel;
import java.util.concurrent.atomic.LongAdder;
import temse.protocol.Output;
import temse.transport.internal.Conversation.End;

/**
 * The sending half of a connection. Any thread: one lock around the socket and the backlog, so that
 * what is sent at once stays together and nothing overtakes.
 */
final class Sender {
  private final SocketChannel channel;
  private final long timeout;
  private final LongAdder written;
  private volatile boolean congested;
  private volatile boolean broken;

  // Under the lock.
  private Output backlog;
  private long deadline;
  private boolean closed;
  private End how;
  private Throwable cause;

  /**
   * @param timeout nanoseconds for which the peer may take nothing
   * @param written counts the bytes that the socket has taken
   */
  Sender(SocketChannel channel, long timeout, LongAdder written) {
    this.channel = channel;
    this.timeout = timeout;
    this.written = written;
  }

  private int write(ByteBuffer bytes) throws IOException {
    int length = channel.write(bytes);
    written.add(length);
    return length;
  }

  /**
   * Writes what {@code output} holds, or keeps what the socket does not take; the output is empty
   * then.
   *
   * @return true if there is something that the loop has to look after: a backlog has begun, or it
   *     broke
   */
  synchronized boolean send(Output output) {
    try {
      if (closed || broken) {
        return false;
      }
      if (congested) {
        backlog.take(output);
        return false;
      }
      if (output.writeTo(this::write)) {
        return false;
      }
      backlog = new Output();
      backlog.take(output);
      deadline = Nanos.after(System.nanoTime(), timeout);
      congested = true;
      return true;
    } catch (Throwable problem) {
      breakOff(problem);
      return true;
    } finally {
      output.clear();
    }
  }

  /** Writes what the socket did not take before. */
  synchronized void drain(long now) {
    if (!congested) {
      return;
    }
    int size = backlog.size();
    try {
      if (backlog.writeTo(this::write)) {
        dropBacklog();
      } else if (backlog.size() < size) {
        deadline = Nanos.after(now, timeout);
      }
    } catch (Throwable problem) {
      breakOff(problem);
    }
  }

  /** Breaks off if the peer has taken nothing for too long. */
  synchronized void giveUp(long now) {
    if (congested && deadline <= now) {
      String problem = "the peer took none of " + backlog.size() + " bytes in time";
      breakOff(End.TIMED_OUT, new SocketTimeoutException(problem));
    }
  }

  /** {@return when {@link #giveUp} is due, or {@link Long#MAX_VALUE}} */
  long deadline() {
    if (!congested) {
      return Long.MAX_VALUE;
    }
    synchronized (this) {
      return congested ? deadline : Long.MAX_VALUE;
    }
  }

  /** {@return true if something waits to be written} */
  boolean isCongested() {
    return congested;
  }

  /** {@return true if nothing can be sent any more; {@link #how} and {@link #cause} say why} */
  boolean isBroken() {
    return broken;
  }

  private void breakOff(Throwable problem) {
    breakOff(endBy(problem), problem);
  }

  /** {@return how a connection ends whose socket failed: by the peer, unless it was closed here} */
  static End endBy(Throwable problem) {
    return problem instanceof IOException && !(problem instanceof ClosedChannelException)
        ? End.PEER_CLOSED
        : End.FAILED;
  }

  /** Sends nothing any more and drops what was not sent; the first reason counts. */
  synchronized void breakOff(End how, Throwable cause) {
    dropBacklog();
    if (!broken) {
      this.how = how;
      this.cause = cause;
      broken = true;
    }
  }

  private void dropBacklog() {
    congested = false;
    backlog = null;
  }

  synchronized End how() {
    return how;
  }

  synchronized Throwable cause() {
    return cause;
  }

  /** Closes the connection. */
  synchronized void close() {
    closed = true;
    dropBacklog();
    SocketServer.closeQuietly(channel);
  }
}
