package temse.metrics;

import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.net.BindException;
import java.net.InetSocketAddress;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.List;
import java.util.Objects;
import java.util.function.Supplier;
import java.util.regex.Pattern;
import temse.protocol.MilterException;
import temse.server.MilterServer;
import temse.transport.Endpoint;

/**
 * Answers those who watch servers over HTTP, by the JDK's own HTTP server:
 *
 * <ul>
 *   <li>{@code /metrics}: the numbers in Prometheus' text format, version 0.0.4
 *   <li>{@code /healthz}: 200 if the event loops of all servers come round within a second, else
 *       503
 *   <li>{@code /readyz}: 200 if MTAs can connect to all servers, 503 from when one begins to stop
 * </ul>
 *
 * <p>Any other path is 404, any method but GET and HEAD 405. Where it listens on a loopback address
 * a request by a name other than {@code localhost} is 403, since it may be that of a web page. It
 * has four threads of its own, gives a request five seconds, and closes what it has no room for, so
 * that nothing a client does holds up mail. The JDK limits the number of connections only if the
 * system property {@code jdk.httpserver.maxConnections} says so.
 *
 * <pre>{@code
 * MetricsServer metrics =
 *     MetricsServer.start(new InetSocketAddress("127.0.0.1", 9100), List.of(server));
 * }</pre>
 *
 * <p>There is no protection by a password: it should listen on a loopback address, or within a
 * network where everybody may see the numbers. They say nothing of any mail or client.
 */
public final class MetricsServer implements AutoCloseable {
  private static final Duration LONGEST_REQUEST = Duration.ofSeconds(5);
  private static final Duration LONGEST_ROUND = Duration.ofSeconds(1);
  private static final int BACKLOG = 16;

  /** An address, or the name that leads to this machine alone; with a port or without. */
  private static final Pattern OWN_HOST =
      Pattern.compile(
          "(?:[0-9.]+|\\[[0-9a-f:.]+]|localhost)(?::[0-9]*)?", Pattern.CASE_INSENSITIVE);

  private static final String PLAIN = "text/plain; charset=utf-8";

  private final HttpServer http;
  private final LimitedWorkers workers;
  private final Supplier<List<MilterServer>> servers;

  private MetricsServer(
      HttpServer http, Supplier<List<MilterServer>> servers, Duration longestRequest) {
    this.http = http;
    this.workers = new LimitedWorkers(longestRequest);
    this.servers = servers;
    http.setExecutor(workers);
    http.createContext("/", this::handle);
    startDaemon();
  }

  /** Its dispatcher is a daemon thread if the one is that starts it. */
  private void startDaemon() {
    Thread starter = new Thread(http::start, "temse-metrics");
    starter.setDaemon(true);
    starter.start();
    boolean interrupted = false;
    while (starter.isAlive()) {
      try {
        starter.join();
      } catch (InterruptedException e) {
        interrupted = true;
      }
    }
    if (interrupted) {
      Thread.currentThread().interrupt();
    }
  }

  /**
   * Starts answering at an address, with port 0 at any free port. The times of handlers are there
   * if they are measured: see {@link HandlerHistograms}.
   *
   * @param address where to listen
   * @param servers those for which it answers, one or more
   * @return what answers, until it is closed
   * @throws IllegalArgumentException if there is no server
   * @throws MilterException BIND_FAILED if the address cannot be listened on
   */
  public static MetricsServer start(InetSocketAddress address, List<MilterServer> servers) {
    return start(address, servers, LONGEST_REQUEST);
  }

  /**
   * Starts answering for servers that come and go, as {@link #start(InetSocketAddress, List)} does.
   *
   * @param address where to listen
   * @param servers returns at each request those for which it answers
   * @return what answers, until it is closed
   * @throws MilterException BIND_FAILED if the address cannot be listened on
   */
  public static MetricsServer start(
      InetSocketAddress address, Supplier<List<MilterServer>> servers) {
    return start(address, servers, LONGEST_REQUEST);
  }

  static MetricsServer start(
      InetSocketAddress address, List<MilterServer> servers, Duration longestRequest) {
    List<MilterServer> own = List.copyOf(servers);
    if (own.isEmpty()) {
      throw new IllegalArgumentException("there is no server to answer for: give one or more");
    }
    return start(address, () -> own, longestRequest);
  }

  private static MetricsServer start(
      InetSocketAddress address, Supplier<List<MilterServer>> servers, Duration longestRequest) {
    try {
      HttpServer http = HttpServer.create(Objects.requireNonNull(address, "address"), BACKLOG);
      return new MetricsServer(http, servers, longestRequest);
    } catch (IOException e) {
      throw new MilterException(
          MilterException.Category.BIND_FAILED,
          "cannot listen on " + Endpoint.describe(address) + " for metrics: " + problem(e),
          e,
          "address",
          Endpoint.describe(address));
    }
  }

  /** Says what is wrong in words of its own: those of the system are in any language. */
  private static String problem(IOException e) {
    return e instanceof BindException
        ? "another program listens there, this machine does not have the address, or this user may"
            + " not use the port"
        : e.getMessage();
  }

  /** {@return where it listens, with the real port number} */
  public InetSocketAddress address() {
    return http.getAddress();
  }

  private void handle(HttpExchange exchange) throws IOException {
    try (exchange) {
      if (!isForThisMachine(exchange)) {
        answer(exchange, 403, PLAIN, "ask for it as 127.0.0.1 or localhost\n");
        return;
      }
      String method = exchange.getRequestMethod();
      if (!method.equals("GET") && !method.equals("HEAD")) {
        exchange.getResponseHeaders().set("Allow", "GET, HEAD");
        answer(exchange, 405, PLAIN, "only GET and HEAD are answered\n");
        return;
      }
      switch (exchange.getRequestURI().getPath()) {
        case "/metrics" ->
            answer(exchange, 200, PrometheusText.CONTENT_TYPE, PrometheusText.of(servers.get()));
        case "/healthz" ->
            answerWhether(exchange, areResponding(), "the event loops do not answer");
        case "/readyz" ->
            answerWhether(
                exchange, servers.get().stream().allMatch(MilterServer::isListening), "stopping");
        default -> answer(exchange, 404, PLAIN, "try /metrics, /healthz or /readyz\n");
      }
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
    }
  }

  /**
   * Returns false where only this machine is answered for a request by another name: that of a web
   * page, in a browser of this machine, whose own name was made to lead here.
   */
  private boolean isForThisMachine(HttpExchange exchange) {
    String host = exchange.getRequestHeaders().getFirst("Host");
    return host == null
        || !address().getAddress().isLoopbackAddress()
        || OWN_HOST.matcher(host).matches();
  }

  private boolean areResponding() throws InterruptedException {
    for (MilterServer server : servers.get()) {
      if (!server.isResponding(LONGEST_ROUND)) {
        return false;
      }
    }
    return true;
  }

  private static void answerWhether(HttpExchange exchange, boolean good, String problem)
      throws IOException {
    answer(exchange, good ? 200 : 503, PLAIN, good ? "ok\n" : problem + "\n");
  }

  private static void answer(HttpExchange exchange, int status, String type, String text)
      throws IOException {
    byte[] bytes = text.getBytes(StandardCharsets.UTF_8);
    exchange.getResponseHeaders().set("Content-Type", type);
    if (exchange.getRequestMethod().equals("HEAD")) {
      exchange.getResponseHeaders().set("Content-Length", Integer.toString(bytes.length));
      exchange.sendResponseHeaders(status, -1);
    } else {
      exchange.sendResponseHeaders(status, bytes.length);
      exchange.getResponseBody().write(bytes);
    }
  }

  /** Stops answering. The servers go on. */
  @Override
  public void close() {
    http.stop(0);
    workers.close();
  }
}
