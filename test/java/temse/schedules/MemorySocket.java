package temse.schedules;

import java.io.IOException;
import java.net.InetSocketAddress;
import java.net.Socket;
import java.net.SocketAddress;
import java.net.SocketOption;
import java.nio.ByteBuffer;
import java.nio.channels.ClosedChannelException;
import java.nio.channels.SelectionKey;
import java.nio.channels.SocketChannel;
import java.util.Set;

/** The server's end of a connection of a {@link Network}. */
final class MemorySocket extends SocketChannel implements MemoryChannel {
  private final InetSocketAddress peer;
  final Pipe toServer;
  final Pipe toClient;

  /** The bytes on their way in one direction. */
  static final class Pipe {
    private final ByteBuffer bytes;
    boolean closed;

    Pipe(int capacity) {
      bytes = ByteBuffer.allocate(capacity);
    }

    int size() {
      return bytes.position();
    }

    int room() {
      return bytes.remaining();
    }

    int put(ByteBuffer from) {
      int length = Math.min(from.remaining(), bytes.remaining());
      bytes.put(from.slice(from.position(), length));
      from.position(from.position() + length);
      return length;
    }

    int take(ByteBuffer to) {
      int length = Math.min(to.remaining(), bytes.position());
      bytes.flip();
      to.put(bytes.slice(0, length));
      bytes.position(length);
      bytes.compact();
      return length;
    }
  }

  MemorySocket(InetSocketAddress peer, int capacity) {
    super(null);
    this.peer = peer;
    toServer = new Pipe(capacity);
    toClient = new Pipe(capacity);
  }

  void reset() {
    toServer.closed = true;
    toClient.closed = true;
  }

  @Override
  public int readyOps() {
    boolean readable = toServer.size() > 0 || toServer.closed;
    boolean writable = toClient.room() > 0 || toServer.closed;
    return (readable ? SelectionKey.OP_READ : 0) | (writable ? SelectionKey.OP_WRITE : 0);
  }

  @Override
  public int read(ByteBuffer into) throws IOException {
    if (!isOpen()) {
      throw new ClosedChannelException();
    }
    int length = toServer.take(into);
    return length == 0 && toServer.closed ? -1 : length;
  }

  @Override
  public int write(ByteBuffer from) throws IOException {
    if (!isOpen()) {
      throw new ClosedChannelException();
    }
    if (toServer.closed) {
      throw new IOException("Broken pipe");
    }
    return toClient.put(from);
  }

  @Override
  public SocketAddress getRemoteAddress() {
    return peer;
  }

  @Override
  public Set<SocketOption<?>> supportedOptions() {
    return Set.of();
  }

  @Override
  public SocketChannel shutdownOutput() {
    toClient.closed = true;
    return this;
  }

  @Override
  protected void implCloseSelectableChannel() {
    reset();
  }

  @Override
  protected void implConfigureBlocking(boolean block) {}

  @Override
  public boolean isConnected() {
    return true;
  }

  @Override
  public boolean isConnectionPending() {
    return false;
  }

  // ---- what a server does not use

  @Override
  public SocketChannel bind(SocketAddress local) {
    throw new UnsupportedOperationException("bind");
  }

  @Override
  public <T> SocketChannel setOption(SocketOption<T> name, T value) {
    throw new UnsupportedOperationException("setOption");
  }

  @Override
  public <T> T getOption(SocketOption<T> name) {
    throw new UnsupportedOperationException("getOption");
  }

  @Override
  public SocketChannel shutdownInput() {
    throw new UnsupportedOperationException("shutdownInput");
  }

  @Override
  public Socket socket() {
    throw new UnsupportedOperationException("socket");
  }

  @Override
  public boolean connect(SocketAddress remote) {
    throw new UnsupportedOperationException("connect");
  }

  @Override
  public boolean finishConnect() {
    throw new UnsupportedOperationException("finishConnect");
  }

  @Override
  public long read(ByteBuffer[] into, int offset, int length) {
    throw new UnsupportedOperationException("read");
  }

  @Override
  public long write(ByteBuffer[] from, int offset, int length) {
    throw new UnsupportedOperationException("write");
  }

  @Override
  public SocketAddress getLocalAddress() {
    throw new UnsupportedOperationException("getLocalAddress");
  }
}
