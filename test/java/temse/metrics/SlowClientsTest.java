package temse.metrics;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.net.InetSocketAddress;
import java.net.Socket;
import java.net.SocketException;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import temse.client.MtaClient;
import temse.client.MtaSession;
import temse.protocol.Event;
import temse.server.Milter;
import temse.server.MilterServer;
import temse.server.Step;

/** Clients of a metrics server that send half a request and wait. */
class SlowClientsTest {
  private static final int MANY = 60;

  private static Socket client(MetricsServer metrics, String sent) throws IOException {
    Socket socket = new Socket("127.0.0.1", metrics.address().getPort());
    socket.setSoTimeout(20_000);
    socket.getOutputStream().write(sent.getBytes(StandardCharsets.US_ASCII));
    return socket;
  }

  /** Returns the first byte of an answer, or -1 for none. */
  private static int answer(Socket socket) throws IOException {
    try {
      return socket.getInputStream().read();
    } catch (SocketException reset) {
      return -1;
    }
  }

  private static boolean isAnswered(MetricsServer metrics) throws IOException {
    try (Socket good = client(metrics, "GET /readyz HTTP/1.1\r\nHost: a\r\n\r\n")) {
      return answer(good) == 'H';
    }
  }

  @Test
  @Timeout(60)
  void areGivenUpAndHoldUpNobody() throws Exception {
    try (MilterServer server =
            MilterServer.builder(
                    Milter.perMessage(() -> 0)
                        .watch(Event.Mail.class, (m, n) -> Step.next(n))
                        .build())
                .listenOn("inet:0@127.0.0.1")
                .start();
        MetricsServer metrics =
            MetricsServer.start(
                new InetSocketAddress("127.0.0.1", 0), List.of(server), Duration.ofMillis(300))) {
      List<Socket> slow = new ArrayList<>();
      for (int i = 0; i < MANY; i++) {
        slow.add(client(metrics, "GET /metrics HTTP/1.1\r\nX-Slow: "));
      }
      try (MtaSession mta = MtaClient.connect(server.endpoint())) {
        assertTrue(mta.agreement() != null, "mail is served");
      }
      for (Socket socket : slow) {
        assertEquals(-1, answer(socket), "it is closed without an answer");
        socket.close();
      }
      while (!isAnswered(metrics)) {
        // A busy machine may need longer than the limit for any request.
      }
    }
  }
}
