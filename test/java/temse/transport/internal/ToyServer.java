package temse.transport.internal;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.UncheckedIOException;
import java.net.InetAddress;
import java.net.Socket;
import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.Queue;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.function.BooleanSupplier;
import java.util.function.UnaryOperator;
import temse.transport.Endpoint;
import temse.transport.TransportOptions;

/** A server of toy conversations on a free port, and clients of it. */
final class ToyServer implements AutoCloseable {
  final ToyConversation.Toys toys;
  final Listener listener = new Listener();
  final SocketServer server;

  ToyServer(ToyConversation.Handler handler) throws IOException {
    this(handler, options -> options);
  }

  ToyServer(ToyConversation.Handler handler, UnaryOperator<TransportOptions.Builder> configuration)
      throws IOException {
    this(handler, configuration, null);
  }

  /**
   * @param nasty a listener instead of the one that remembers, or null
   */
  ToyServer(
      ToyConversation.Handler handler,
      UnaryOperator<TransportOptions.Builder> configuration,
      TransportListener nasty)
      throws IOException {
    toys = new ToyConversation.Toys(handler);
    server =
        SocketServer.start(
            List.of(Endpoint.parse("0")),
            configuration.apply(TransportOptions.builder().name("toy").daemon(true)).build(),
            toys::open,
            nasty == null ? listener : nasty);
  }

  Client connect() throws IOException {
    return new Client(port());
  }

  int port() {
    return ((Endpoint.Inet) server.endpoint()).port();
  }

  /** Waits for something that another thread is about to bring about. */
  static void await(String what, BooleanSupplier condition) {
    long limit = System.nanoTime() + TimeUnit.SECONDS.toNanos(20);
    while (!condition.getAsBoolean()) {
      assertTrue(System.nanoTime() < limit, "in vain waited until " + what);
      Thread.onSpinWait();
      Thread.yield();
    }
  }

  static void await(CountDownLatch latch) throws InterruptedException {
    assertTrue(latch.await(20, TimeUnit.SECONDS), "in vain waited for a latch");
  }

  /** Waits for a latch, in code that may not throw. */
  static void awaitUninterrupted(CountDownLatch latch) {
    try {
      await(latch);
    } catch (InterruptedException e) {
      throw new IllegalStateException(e);
    }
  }

  static void sendAll(Client client, String text) {
    try {
      client.send(text);
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  void assertOrderly() {
    assertEquals(List.of(), List.copyOf(toys.violations));
    assertEquals(List.of(), List.copyOf(listener.failures));
  }

  @Override
  public void close() {
    server.close();
  }

  /** Remembers what it was told. */
  static final class Listener implements TransportListener {
    final Queue<String> opened = new ConcurrentLinkedQueue<>();
    final Queue<String> closed = new ConcurrentLinkedQueue<>();
    final Queue<String> refused = new ConcurrentLinkedQueue<>();
    final Queue<Throwable> failures = new ConcurrentLinkedQueue<>();
    final Queue<List<String>> leftBehind = new ConcurrentLinkedQueue<>();

    @Override
    public void opened(String peer) {
      opened.add(peer);
    }

    @Override
    public void closed(String peer, Conversation.End how, Throwable cause) {
      closed.add(peer + " " + how);
    }

    @Override
    public void refused(String peer, String why) {
      refused.add(why);
    }

    @Override
    public void failed(Throwable problem) {
      failures.add(problem);
    }

    @Override
    public void leftBehind(List<String> threads) {
      leftBehind.add(threads);
    }
  }

  /** A client that writes and reads lines. */
  static final class Client implements AutoCloseable {
    final Socket socket;
    private final BufferedReader in;

    Client(int port) throws IOException {
      socket = new Socket(InetAddress.getLoopbackAddress(), port);
      socket.setTcpNoDelay(true);
      socket.setSoTimeout(20_000);
      in =
          new BufferedReader(
              new InputStreamReader(socket.getInputStream(), StandardCharsets.UTF_8));
    }

    Client send(String text) throws IOException {
      socket.getOutputStream().write(text.getBytes(StandardCharsets.UTF_8));
      return this;
    }

    /** Returns a line, or null at the end. */
    String read() throws IOException {
      return in.readLine();
    }

    String ask(String line) throws IOException {
      send(line + "\n");
      return read();
    }

    @Override
    public void close() throws IOException {
      socket.close();
    }
  }
}
