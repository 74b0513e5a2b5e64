package temse.transport.internal;

import java.io.IOException;
import java.net.BindException;
import java.net.InetAddress;
import java.net.NetworkInterface;
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
  private static final int ACCEPTED_AT_ONCE = 64;
  private static final int PRIVILEGED = 1024;
  private static final long PAUSE = TimeUnit.MILLISECONDS.toNanos(100);

  /** How often it is looked whether the socket's file is still there. */
  private static final long LOOK = TimeUnit.SECONDS.toNanos(10);

  private final ServerSocketChannel channel;
  private final Endpoint endpoint;
  private final UnixSocketFile file;
  private final InheritedSocket inherited;
  private final AcceptFailures failures = new AcceptFailures();
  private EventLoop loop;
  private SelectionKey key;
  private boolean lost;

  /**
   * @param file of a Unix-domain socket that was made here, or null
   * @param inherited the socket if it was not made here, or null
   */
  private Acceptor(
      ServerSocketChannel channel,
      Endpoint endpoint,
      UnixSocketFile file,
      InheritedSocket inherited) {
    this.channel = channel;
    this.endpoint = endpoint;
    this.file = file;
    this.inherited = inherited;
  }

  /**
   * Opens a listening socket.
   *
   * @throws IOException whose message names the endpoint
   */
  static Acceptor open(Endpoint endpoint, TransportOptions options) throws IOException {
    try {
      if (endpoint instanceof Endpoint.Inet inet) {
        return openInet(inet, options);
      }
      return endpoint instanceof Endpoint.Unix unix
          ? openUnix(unix, options)
          : openInherited(options);
    } catch (IOException | RuntimeException e) {
      throw new IOException(
          "cannot listen on " + endpoint + ": " + problem(endpoint, options, e), e);
    }
  }

  private static Acceptor openInet(Endpoint.Inet inet, TransportOptions options)
      throws IOException {
    ServerSocketChannel channel =
        ServerSocketChannel.open(
            inet.v6() ? StandardProtocolFamily.INET6 : StandardProtocolFamily.INET);
    try {
      channel.configureBlocking(false);
      channel.setOption(StandardSocketOptions.SO_REUSEADDR, true);
      if (options.takeOver()) {
        share(channel);
      }
      channel.bind(inet.address(), options.backlog());
      int port = channel.socket().getLocalPort();
      return new Acceptor(channel, new Endpoint.Inet(inet.v6(), inet.host(), port), null, null);
    } catch (IOException | RuntimeException e) {
      channel.close();
      throw e;
    }
  }

  private static void share(ServerSocketChannel channel) throws IOException {
    if (!channel.supportedOptions().contains(StandardSocketOptions.SO_REUSEPORT)) {
      throw new IOException(
          "a TCP port cannot be taken over on this system, which has no SO_REUSEPORT;"
              + " a Unix-domain socket can");
    }
    channel.setOption(StandardSocketOptions.SO_REUSEPORT, true);
  }

  private static Acceptor openUnix(Endpoint.Unix unix, TransportOptions options)
      throws IOException {
    checkNobodyIsKeptOut(options);
    ServerSocketChannel channel = ServerSocketChannel.open(StandardProtocolFamily.UNIX);
    try {
      channel.configureBlocking(false);
      UnixSocketFile file = UnixSocketFile.bind(channel, unix.path(), options);
      return new Acceptor(channel, unix, file, null);
    } catch (IOException | RuntimeException e) {
      channel.close();
      throw e;
    }
  }

  private static Acceptor openInherited(TransportOptions options) throws IOException {
    if (options.takeOver()) {
      throw new IOException(
          "there is nothing to take over: whoever starts processes with the socket keeps it open");
    }
    if (options.unixMode() != null || options.unixGroup() != null) {
      throw new IOException(
          "mode and group of the socket's file are for those who have made it, such as SocketMode="
              + " and SocketGroup= of systemd");
    }
    InheritedSocket inherited = InheritedSocket.take();
    try {
      if (!(inherited.endpoint() instanceof Endpoint.Inet)) {
        checkNobodyIsKeptOut(options);
      }
      inherited.channel().configureBlocking(false);
      return new Acceptor(inherited.channel(), inherited.endpoint(), null, inherited);
    } catch (IOException | RuntimeException e) {
      inherited.giveBack();
      throw e;
    }
  }

  private static void checkNobodyIsKeptOut(TransportOptions options) throws IOException {
    if (options.allow() != null) {
      throw new IOException(
          "who may connect is told by addresses, and peers on a Unix-domain socket have none;"
              + " the mode of its file says who may");
    }
  }

  /** Says what is wrong in words of its own: those of the system are in any language. */
  private static String problem(Endpoint endpoint, TransportOptions options, Exception e)
      throws IOException {
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
          + (options.takeOver() ? ", of another user or not to be taken over" : "")
          + (inet.port() < PRIVILEGED
              ? ", or this user may not: ports below 1024 are for root"
              : "");
    }
    return e.getMessage();
  }

  /** Returns the endpoint, with the port that was chosen if any free one was asked for. */
  Endpoint endpoint() {
    return endpoint;
  }

  void register(EventLoop loop) throws IOException {
    this.loop = loop;
    key = loop.sockets().register(channel, SelectionKey.OP_ACCEPT, this);
    lookLater();
  }

  private void lookLater() {
    loop.schedule(this, failures.nextLook());
    if (file != null && !lost) {
      loop.schedule(this, Nanos.after(System.nanoTime(), LOOK));
    }
  }

  /** Accepts the connections that are waiting, within limits. */
  void accept() {
    try {
      for (int i = 0; i < ACCEPTED_AT_ONCE; i++) {
        SocketChannel accepted = channel.accept();
        if (accepted == null) {
          return;
        }
        loop.server().admission().admit(accepted, loop);
      }
    } catch (IOException e) {
      key.interestOps(0);
      long now = System.nanoTime();
      loop.schedule(this, now + PAUSE);
      report(failures.add(e, now));
    }
  }

  private void report(IOException problem) {
    if (problem != null) {
      loop.reportFailure(problem);
    }
  }

  /** A pause is over, or it is time to look for the file or for the end of failures. Carrier. */
  @Override
  boolean fire(long now) {
    if (key.isValid()) {
      key.interestOps(SelectionKey.OP_ACCEPT);
      report(failures.look(now));
      if (file != null && !lost && !file.isInPlace()) {
        lost = true;
        loop.reportFailure(
            new IOException(
                "nobody can connect to "
                    + endpoint
                    + " here any more: another server has taken it over, or its file was"
                    + " removed"));
      }
      lookLater();
    }
    return true;
  }

  /**
   * Stops listening, without losing a connection that the system has made already: it is admitted
   * first. At an inherited socket it waits for who listens there next. Carrier.
   *
   * @param problems receives what is in the way of that
   */
  void finish(Consumer<Throwable> problems) {
    loop.unschedule(this);
    key.cancel();
    try {
      loop.sockets().flush();
      removeFile(problems);
      if (inherited == null) {
        acceptTheRest();
      }
    } catch (IOException e) {
      problems.accept(e);
    }
    closeChannel();
  }

  /** Between the last answer of accept and the end of the channel there is nothing but its call. */
  private void acceptTheRest() throws IOException {
    SocketChannel accepted;
    while ((accepted = channel.accept()) != null) {
      loop.server().admission().admit(accepted, loop);
    }
  }

  /**
   * Stops listening at once. Any thread.
   *
   * @param problems receives that the socket's file cannot be removed
   */
  void close(Consumer<Throwable> problems) {
    if (key != null) {
      key.cancel();
    }
    removeFile(problems);
    closeChannel();
  }

  /** Before the socket is closed: its file has an identity of its own until then. */
  private void removeFile(Consumer<Throwable> problems) {
    try {
      if (file != null) {
        file.remove();
      }
    } catch (IOException e) {
      problems.accept(e);
    }
  }

  private void closeChannel() {
    if (inherited == null) {
      SocketServer.closeQuietly(channel);
    } else {
      inherited.giveBack();
    }
  }
}
