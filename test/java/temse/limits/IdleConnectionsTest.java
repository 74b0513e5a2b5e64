package temse.limits;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.ByteArrayOutputStream;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** What a connection keeps of its last message. */
@Timeout(120)
class IdleConnectionsTest {
  private static final int CONNECTIONS = 60;
  private static final int FIELDS = 9000;
  private static final long KEPT_AT_MOST = 20 * 1024;

  /** A message with many header fields, each of another name, and macros of 900 KB. */
  private static byte[] large() {
    ByteArrayOutputStream packets = new ByteArrayOutputStream();
    packets.writeBytes(RawMta.packet('D', "Mi\0" + "q".repeat(450_000) + "\0"));
    packets.writeBytes(RawMta.packet('M', "<a@example.org>\0SIZE=1000\0"));
    packets.writeBytes(RawMta.packet('R', "<b@example.com>\0"));
    for (int i = 0; i < FIELDS; i++) {
      packets.writeBytes(RawMta.packet('L', "X-Field-" + i + "\0" + "v".repeat(40) + "\0"));
    }
    packets.writeBytes(RawMta.packet('N', ""));
    packets.writeBytes(RawMta.packet('B', "text\r\n".repeat(10_000)));
    packets.writeBytes(RawMta.packet('D', "Ej\0" + "m".repeat(450_000) + "\0"));
    packets.writeBytes(RawMta.packet('E', ""));
    return packets.toByteArray();
  }

  @Test
  void anIdleConnectionKeepsNothingOfALargeMessage() throws Exception {
    byte[] large = large();
    List<RawMta> peers = new ArrayList<>();
    try (SmallProcess server = new SmallProcess("256m")) {
      try (RawMta first = RawMta.connect(server.port).negotiate()) {
        assertEquals('a', first.sendBytes(large).readVerdict());
      }
      for (int i = 0; i < CONNECTIONS; i++) {
        peers.add(RawMta.connect(server.port).negotiate());
      }
      long before = server.ask("used");
      for (RawMta peer : peers) {
        assertEquals('a', peer.sendBytes(large).readVerdict());
      }
      long kept = (server.ask("used") - before) / CONNECTIONS;
      System.out.printf("an idle connection keeps %d bytes of its last message%n", kept);
      assertTrue(kept < KEPT_AT_MOST, () -> kept + " bytes are kept");
      for (RawMta peer : peers) {
        peer.close();
      }
    }
  }
}
