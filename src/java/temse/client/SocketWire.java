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
  private final Duration timeout;
  private Packet ahead;

  SocketWire(SocketAddress address, Duration timeout) throws IOException {
    this.timeout = timeout;
    boolean unix = address instanceof UnixDomainSocketAddress;
    this.channel = unix ? SocketChannel.open(StandardProtocolFamily.UNIX) : SocketChannel.open();
    try {
      this.selector = Selector.open();
      channel.configureBlocking(false);
      this.key = channel.register(selector, SelectionKey.OP_CONNECT);
      if (!channel.connect(address)) {
        await(SelectionKey.OP_CONNECT, timeout, "connecting");
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
    while (output.hasRemaining()) {
      if (channel.write(output) == 0) {
        await(SelectionKey.OP_WRITE, timeout, "writing");
      }
    }
  }

  @Override
  public Packet read(Duration timeout) throws IOException {
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
          await(SelectionKey.OP_READ, timeout, "waiting for a reply");
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

  private void await(int operation, Duration timeout, String what) throws IOException {
    key.interestOps(operation);
    if (selector.select(Math.max(1, timeout.toMillis())) == 0) {
      throw new SocketTimeoutException("timed out after " + timeout.toMillis() + " ms, " + what);
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
