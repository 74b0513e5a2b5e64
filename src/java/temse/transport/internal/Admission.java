package temse.transport.internal;

import java.io.IOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.nio.channels.SocketChannel;
import java.util.concurrent.atomic.LongAdder;
import temse.network.Networks;
import temse.transport.Endpoint;
import temse.transport.TransportOptions;

/** Decides which accepted connections are served, and by which loop. */
final class Admission {
  private final SocketServer server;
  private final int most;
  private final int mostPerPeer;
  private final Networks allow;
  private final Peers peers;
  private final LongAdder accepted = new LongAdder();
  private final LongAdder refused = new LongAdder();
  private final LongAdder refusedPerPeer = new LongAdder();
  private final LongAdder refusedByAddress = new LongAdder();

  Admission(SocketServer server, TransportOptions options) {
    this.server = server;
    this.most = options.maxConnections();
    this.mostPerPeer = options.maxConnectionsPerPeer();
    this.allow = options.allow();
    this.peers = new Peers(mostPerPeer);
  }

  /**
   * Gives an accepted connection to the loop that has the fewest, or refuses it.
   *
   * @param acceptor the loop that has accepted it
   */
  void admit(SocketChannel channel, EventLoop acceptor) {
    accepted.increment();
    InetAddress peer = null;
    boolean entered = false;
    try {
      if (allow != null && !allow.contains(addressOf(channel))) {
        refusedByAddress.increment();
        refuse(channel, acceptor, "its address is not among those that may connect");
        return;
      }
      if (server.connections() >= most) {
        refuse(channel, acceptor, "there are " + most + " connections already");
        return;
      }
      peer = peers.areLimited() ? addressOf(channel) : null;
      entered = peers.enter(peer);
      if (entered) {
        leastLoop().add(channel, peer);
      } else {
        refusedPerPeer.increment();
        String address = peer.getHostAddress();
        refuse(
            channel,
            acceptor,
            "there are " + mostPerPeer + " connections from " + address + " already");
      }
    } catch (Throwable problem) {
      server.check(problem);
      SocketServer.closeQuietly(channel);
      if (entered) {
        peers.leave(peer);
      }
      acceptor.reportFailure(problem);
    }
  }

  private EventLoop leastLoop() {
    EventLoop choice = server.loops()[0];
    for (EventLoop loop : server.loops()) {
      if (loop.connections() < choice.connections()) {
        choice = loop;
      }
    }
    return choice;
  }

  private static InetAddress addressOf(SocketChannel channel) throws IOException {
    return channel.getRemoteAddress() instanceof InetSocketAddress inet ? inet.getAddress() : null;
  }

  /** Closes it in a task of its own: after the report, or while the listener blocks. */
  private void refuse(SocketChannel channel, EventLoop acceptor, String why) throws IOException {
    refused.increment();
    String peer = Endpoint.describe(channel.getRemoteAddress());
    acceptor.report(() -> server.listener().refused(peer, why));
    acceptor.post(
        () -> {
          SocketServer.closeQuietly(channel);
          return true;
        });
  }

  Peers peers() {
    return peers;
  }

  long accepted() {
    return accepted.sum();
  }

  long refused() {
    return refused.sum();
  }

  long refusedPerPeer() {
    return refusedPerPeer.sum();
  }

  long refusedByAddress() {
    return refusedByAddress.sum();
  }
}
