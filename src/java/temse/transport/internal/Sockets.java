package temse.transport.internal;

import java.io.IOException;
import java.net.SocketOption;
import java.net.StandardSocketOptions;
import java.nio.channels.SelectableChannel;
import java.nio.channels.SelectionKey;
import java.nio.channels.Selector;
import java.nio.channels.SocketChannel;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.function.Consumer;

/**
 * The sockets of a loop and what is possible with them. Carrier, unless a method says otherwise.
 */
final class Sockets {
  /** A selector that fails this many times in a row will not recover. */
  private static final int FAILURES = 16;

  /** Seconds of silence before a peer is probed, and between probes, and how many it may miss. */
  private static final Map<String, Integer> PROBING =
      Map.of("TCP_KEEPIDLE", 120, "TCP_KEEPINTERVAL", 30, "TCP_KEEPCOUNT", 6);

  /** For tests: what selecting throws from now on, or null. */
  volatile RuntimeException sabotage;

  private final Selector selector;
  private final List<SelectionKey> ready = new ArrayList<>();
  private final Consumer<SelectionKey> collector = ready::add;
  private int nextReady;
  private int failures;

  Sockets(Selector selector) {
    this.selector = selector;
  }

  /**
   * Makes a socket ready to be registered. A machine that is gone without a word is missed after
   * five minutes of silence; systems wait for two hours if they are not told otherwise.
   */
  static void configure(SocketChannel channel) throws IOException {
    channel.configureBlocking(false);
    Set<SocketOption<?>> supported = channel.supportedOptions();
    if (supported.contains(StandardSocketOptions.TCP_NODELAY)) {
      channel.setOption(StandardSocketOptions.TCP_NODELAY, true);
      channel.setOption(StandardSocketOptions.SO_KEEPALIVE, true);
      for (Map.Entry<String, Integer> probing : PROBING.entrySet()) {
        SocketOption<Integer> option = option(channel, probing.getKey());
        if (option != null) {
          channel.setOption(option, probing.getValue());
        }
      }
    }
  }

  /** Returns the option TCP_QUICKACK, or null where there is none. */
  static SocketOption<Boolean> quickAck(SocketChannel channel) {
    return option(channel, "TCP_QUICKACK");
  }

  /**
   * Returns an option by its name, or null where there is none: the class of those that not every
   * system has is in the module jdk.net, which a program may lack.
   */
  @SuppressWarnings("unchecked")
  private static <T> SocketOption<T> option(SocketChannel channel, String name) {
    for (SocketOption<?> option : channel.supportedOptions()) {
      if (option.name().equals(name)) {
        return (SocketOption<T>) option;
      }
    }
    return null;
  }

  SelectionKey register(SelectableChannel channel, int operation, Object owner) throws IOException {
    return channel.register(selector, operation, owner);
  }

  /** Returns one with which something is possible, or null; each once after {@link #select}. */
  SelectionKey pollReady() {
    return nextReady < ready.size() ? ready.get(nextReady++) : null;
  }

  /** Waits until something is possible, a task is there, or the time is up. */
  void select(Tasks tasks, long millis) throws IOException {
    ready.clear();
    nextReady = 0;
    failures++;
    if (sabotage != null) {
      throw sabotage;
    }
    tasks.select(collector, millis);
    failures = 0;
  }

  /** Returns true if selecting fails and fails. */
  boolean haveFailed() {
    return failures >= FAILURES;
  }

  /** Any thread: calls one of the two with each socket's owner. */
  void forEach(Consumer<SocketLink> links, Consumer<Acceptor> acceptors) {
    if (!selector.isOpen()) {
      return;
    }
    for (SelectionKey key : selector.keys()) {
      if (key.attachment() instanceof SocketLink link) {
        links.accept(link);
      } else {
        acceptors.accept((Acceptor) key.attachment());
      }
    }
  }

  /** Any thread, while the loop does not select: lets go of the sockets that were closed. */
  void flush() throws IOException {
    if (selector.isOpen()) {
      selector.selectNow();
    }
  }

  void close() throws IOException {
    selector.close();
  }
}
