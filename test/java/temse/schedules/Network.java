package temse.schedules;

import java.io.IOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.UnknownHostException;
import java.nio.channels.Selector;
import java.nio.channels.ServerSocketChannel;
import java.util.LinkedHashMap;
import java.util.Map;

/** Sockets of one schedule: in memory, on ports that are counted from 1. */
public final class Network {
  private static final int CAPACITY = 4 * 1024;

  private final Map<Integer, MemoryServer> servers = new LinkedHashMap<>();
  private int ports;

  Network() {}

  Selector openSelector() {
    return new MemorySelector();
  }

  ServerSocketChannel openServer() {
    return new MemoryServer(this);
  }

  int listen(MemoryServer server) {
    servers.put(++ports, server);
    return ports;
  }

  void close(int port) {
    servers.remove(port);
  }

  InetSocketAddress address(int port) {
    try {
      return new InetSocketAddress(InetAddress.getByAddress(new byte[] {127, 0, 0, 1}), port);
    } catch (UnknownHostException e) {
      throw new IllegalStateException(e);
    }
  }

  /**
   * Connects to a port of the calling thread's schedule.
   *
   * @throws IOException if nobody listens there
   */
  public static MemoryClient connect(int port) throws IOException {
    return connect(port, CAPACITY);
  }

  /**
   * Connects to a port of the calling thread's schedule.
   *
   * @param capacity how many bytes fit between the ends, in each direction
   * @throws IOException if nobody listens there
   */
  public static MemoryClient connect(int port, int capacity) throws IOException {
    Scheduler.current().point("connects");
    Network network = Scheduler.current().network();
    MemoryServer server = network.servers.get(port);
    if (server == null) {
      throw new IOException("connection refused");
    }
    MemorySocket socket = new MemorySocket(network.address(++network.ports), capacity);
    server.enqueue(socket);
    return new MemoryClient(socket);
  }
}
