package temse.client;

import java.io.IOException;
import java.net.SocketAddress;
import java.net.SocketTimeoutException;
import java.net.StandardProtocolFamily;
import java.net.StandardSocketOptions;
import java.net.UnixDomainSocketAddress;
import java.nio.ByteBuffer;
import java.nio.channels.SelectionKey;
import java.nio.channels.Selector;
import java.nio.channels.SocketChannel;
import java.time.Duration;
import temse.protocol.Packet;
import temse.protocol.PacketDecoder;

/** A socket to a milter, whose waits are bounded. */
final class SocketWire implements Wire {
  private final SocketChannel channel;
  private final Selector selector;
  private final SelectionKey key;
  private final PacketDecoder decoder = new PacketDecoder(16 * 1024 * 1024);
  private final ByteBuffer input = ByteBuffer.allocate(128 * 1024).limit(0);
  private final Timeouts timeouts;
  private Packet ahead;

  SocketWire(SocketAddress address, Timeouts timeouts) throws IOException {
    this.timeouts = timeouts;
    boolean unix = address instanceof UnixDomainSocketAddress;
    this.channel = unix ? SocketChannel.open(StandardProtocolFamily.UNIX) : SocketChannel.open();
    try {
      this.selector = Selector.open();
      channel.configureBlocking(false);
      this.key = channel.register(selector, SelectionKey.OP_CONNECT);
      if (!channel.connect(address)) {
        Deadline deadline = new Deadline(timeouts.connect());
        await(SelectionKey.OP_CONNECT, deadline, "connecting");
        channel.finishConnect();
      }
      if (!unix) {
        channel.setOption(StandardSocketOptions.TCP_NODELAY, true);
      }
    } catch (IOException e) {
      close();
      throw e;
    }
  }

  @Override
  public void write(byte[] bytes) throws IOException {
    ByteBuffer output = ByteBuffer.wrap(bytes);
    Deadline deadline = new Deadline(timeouts.write());
    while (output.hasRemaining()) {
      if (channel.write(output) == 0) {
        await(SelectionKey.OP_WRITE, deadline, "writing");
      }
    }
  }

  @Override
  public Packet read(Duration timeout) throws IOException {
    Deadline deadline = new Deadline(timeout);
    Packet packet = ahead;
    ahead = null;
    while (packet == null) {
      packet = decoder.next(input);
      if (packet == null) {
        int count = fill();
        if (count < 0) {
          return null;
        }
        if (count == 0) {
          await(SelectionKey.OP_READ, deadline, "waiting for a reply");
        }
      }
    }
    return packet;
  }

  @Override
  public boolean hasPacket() throws IOException {
    while (ahead == null) {
      ahead = decoder.next(input);
      if (ahead == null && fill() <= 0) {
        return false;
      }
    }
    return true;
  }

  private int fill() throws IOException {
    input.clear();
    int count = channel.read(input);
    input.flip();
    return count;
  }

  private record Deadline(Duration timeout, long end) {
    Deadline(Duration timeout) {
      this(timeout, System.nanoTime() + timeout.toNanos());
    }

    /** Returns the milliseconds that are left, 0 if none is. */
    long millis() {
      return Math.max(0, (end - System.nanoTime() + 999_999) / 1_000_000);
    }
  }

  private void await(int operation, Deadline deadline, String what) throws IOException {
    key.interestOps(operation);
    long left = deadline.millis();
    if (left == 0 || selector.select(left) == 0) {
      throw new SocketTimeoutException(
          "timed out after " + deadline.timeout.toMillis() + " ms, " + what);
    }
    selector.selectedKeys().clear();
  }

  @Override
  public void close() throws IOException {
    channel.close();
    if (selector != null) {
      selector.close();
    }
  }
}
