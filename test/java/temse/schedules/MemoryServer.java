package temse.schedules;

import java.io.IOException;
import java.net.ServerSocket;
import java.net.SocketAddress;
import java.net.SocketOption;
import java.nio.channels.SelectionKey;
import java.nio.channels.ServerSocketChannel;
import java.nio.channels.SocketChannel;
import java.util.ArrayDeque;
import java.util.Queue;
import java.util.Set;

/** A listening socket of a {@link Network}. */
final class MemoryServer extends ServerSocketChannel implements MemoryChannel {
  private final Network network;
  private final Queue<MemorySocket> pending = new ArrayDeque<>();
  private int port;

  MemoryServer(Network network) {
    super(null);
    this.network = network;
  }

  void enqueue(MemorySocket socket) {
    pending.add(socket);
  }

  @Override
  public int readyOps() {
    return pending.isEmpty() ? 0 : SelectionKey.OP_ACCEPT;
  }

  @Override
  public ServerSocketChannel bind(SocketAddress local, int backlog) {
    port = network.listen(this);
    return this;
  }

  @Override
  public SocketChannel accept() {
    return pending.poll();
  }

  @Override
  public ServerSocket socket() {
    try {
      return new ServerSocket() {
        @Override
        public int getLocalPort() {
          return port;
        }
      };
    } catch (IOException e) {
      throw new IllegalStateException(e);
    }
  }

  @Override
  public SocketAddress getLocalAddress() {
    return network.address(port);
  }

  @Override
  public <T> ServerSocketChannel setOption(SocketOption<T> name, T value) {
    return this;
  }

  @Override
  public <T> T getOption(SocketOption<T> name) {
    return null;
  }

  @Override
  public Set<SocketOption<?>> supportedOptions() {
    return Set.of();
  }

  @Override
  protected void implCloseSelectableChannel() {
    network.close(port);
    pending.forEach(MemorySocket::reset);
  }

  @Override
  protected void implConfigureBlocking(boolean block) {}
}
