package temse.transport.internal;

import java.io.IOException;
import java.net.BindException;
import java.net.InetAddress;
import java.net.NetworkInterface;
import java.net.ProtocolFamily;
import java.net.StandardProtocolFamily;
import java.net.StandardSocketOptions;
import java.net.UnknownHostException;
import java.nio.channels.SelectionKey;
import java.nio.channels.ServerSocketChannel;
import java.nio.channels.SocketChannel;
import java.util.concurrent.TimeUnit;
import java.util.function.Consumer;
import temse.transport.Endpoint;
import temse.transport.TransportOptions;

/**
 * A listening socket. Once registered it belongs to its loop. When the system has no descriptor
 * left, it pauses instead of asking again at once.
 */
final class Acceptor extends Timers.Timed {
  private static final int BACKLOG = 1024;
  private static final int ACCEPTED_AT_ONCE = 64;
  private static final int PRIVILEGED = 1024;
  private static final long PAUSE = TimeUnit.MILLISECONDS.toNanos(100);

  private final ServerSocketChannel channel;
  private final Endpoint endpoint;
  private final UnixSocketFile file;
  private EventLoop loop;
  private SelectionKey key;
  private boolean failing;

  private Acceptor(ServerSocketChannel channel, Endpoint endpoint, UnixSocketFile file) {
    this.channel = channel;
    this.endpoint = endpoint;
    this.file = file;
  }

  /**
   * Opens a listening socket.
   *
   * @throws IOException whose message names the endpoint
   */
  static Acceptor open(Endpoint endpoint, TransportOptions options) throws IOException {
    ServerSocketChannel channel = ServerSocketChannel.open(family(endpoint));
    try {
      channel.configureBlocking(false);
      if (endpoint instanceof Endpoint.Unix unix) {
        UnixSocketFile file =
            UnixSocketFile.bind(
                channel, BACKLOG, unix.path(), options.unixMode(), options.unixGroup());
        return new Acceptor(channel, endpoint, file);
      }
      Endpoint.Inet inet = (Endpoint.Inet) endpoint;
      channel.setOption(StandardSocketOptions.SO_REUSEADDR, true);
      channel.bind(inet.address(), BACKLOG);
      int port = channel.socket().getLocalPort();
      return new Acceptor(channel, new Endpoint.Inet(inet.v6(), inet.host(), port), null);
    } catch (IOException | RuntimeException e) {
      channel.close();
      throw new IOException("cannot listen on " + endpoint + ": " + problem(endpoint, e), e);
    }
  }

  /** Says what is wrong in words of its own: those of the system are in any language. */
  private static String problem(Endpoint endpoint, Exception e) throws IOException {
    if (!(endpoint instanceof Endpoint.Inet inet)) {
      return e.getMessage();
    }
    if (e instanceof UnknownHostException) {
      return "there is no host of this name";
    }
    if (e instanceof BindException) {
      InetAddress address = inet.address().getAddress();
      boolean here =
          address.isAnyLocalAddress() || NetworkInterface.getByInetAddress(address) != null;
      if (!here) {
        return "this machine does not have the address";
      }
      return "another program, or another filter, listens there already"
          + (inet.port() < PRIVILEGED
              ? ", or this user may not: ports below 1024 are for root"
              : "");
    }
    return e.getMessage();
  }

  private static ProtocolFamily family(Endpoint endpoint) {
    if (endpoint instanceof Endpoint.Inet inet) {
      return inet.v6() ? StandardProtocolFamily.INET6 : StandardProtocolFamily.INET;
    }
    return StandardProtocolFamily.UNIX;
  }

  /** Returns the endpoint, with the port that was chosen if any free one was asked for. */
  Endpoint endpoint() {
    return endpoint;
  }

  void register(EventLoop loop) throws IOException {
    this.loop = loop;
    key = loop.sockets().register(channel, SelectionKey.OP_ACCEPT, this);
  }

  /** Accepts the connections that are waiting, within limits. */
  void accept() {
    try {
      for (int i = 0; i < ACCEPTED_AT_ONCE; i++) {
        SocketChannel accepted = channel.accept();
        if (accepted == null) {
          return;
        }
        failing = false;
        loop.server().admission().admit(accepted, loop);
      }
    } catch (IOException e) {
      key.interestOps(0);
      loop.schedule(this, System.nanoTime() + PAUSE);
      if (!failing) {
        failing = true;
        loop.reportFailure(e);
      }
    }
  }

  @Override
  boolean fire(long now) {
    if (key.isValid()) {
      key.interestOps(SelectionKey.OP_ACCEPT);
    }
    return true;
  }

  /**
   * Stops listening.
   *
   * @param problems receives that the socket's file cannot be removed
   */
  void close(Consumer<Throwable> problems) {
    SocketServer.closeQuietly(channel);
    try {
      if (file != null) {
        file.remove();
      }
    } catch (IOException e) {
      problems.accept(e);
    }
  }
}
