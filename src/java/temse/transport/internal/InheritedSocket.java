package temse.transport.internal;

import java.io.IOException;
import java.nio.channels.Channel;
import java.nio.channels.DatagramChannel;
import java.nio.channels.ServerSocketChannel;
import java.nio.channels.SocketChannel;
import java.util.concurrent.atomic.AtomicBoolean;
import temse.transport.Endpoint;

/**
 * The listening socket that the process has inherited as its standard input. It belongs to the
 * process, and to whoever has made it: it is never closed here. (If it were, the JDK would close
 * the standard output and error with it.)
 */
final class InheritedSocket {
  private static final AtomicBoolean TAKEN = new AtomicBoolean();

  private final ServerSocketChannel channel;
  private final Endpoint endpoint;
  private final AtomicBoolean given = new AtomicBoolean();

  private InheritedSocket(ServerSocketChannel channel) throws IOException {
    this.channel = channel;
    this.endpoint = Endpoint.of(channel.getLocalAddress());
  }

  /**
   * {@return the socket, for one server at a time}
   *
   * @throws IOException if a server of the process has it, or that says what was inherited instead
   */
  static InheritedSocket take() throws IOException {
    if (!TAKEN.compareAndSet(false, true)) {
      throw new IOException("another milter of this process listens on the inherited socket");
    }
    try {
      return new InheritedSocket(listening(System.inheritedChannel()));
    } catch (IOException | RuntimeException e) {
      TAKEN.set(false);
      throw e;
    }
  }

  private static ServerSocketChannel listening(Channel inherited) throws IOException {
    if (inherited instanceof ServerSocketChannel channel) {
      return channel;
    }
    if (inherited instanceof SocketChannel) {
      throw new IOException(
          "the standard input is one connection, not a socket that listens: a .socket unit of"
              + " systemd needs Accept=no, and systemd-socket-activate no --accept");
    }
    if (inherited instanceof DatagramChannel) {
      throw new IOException(
          "the standard input is a socket of datagrams: a .socket unit of systemd needs"
              + " ListenStream=");
    }
    throw new IOException(
        "the standard input is no socket: a service of systemd needs StandardInput=socket and a"
            + " .socket unit, and systemd-socket-activate needs --inetd");
  }

  ServerSocketChannel channel() {
    return channel;
  }

  /** {@return where it is bound} */
  Endpoint endpoint() {
    return endpoint;
  }

  /** Any thread, any number of times: another server may take it. */
  void giveBack() {
    if (given.compareAndSet(false, true)) {
      TAKEN.set(false);
    }
  }
}
