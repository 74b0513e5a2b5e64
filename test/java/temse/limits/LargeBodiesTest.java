package temse.limits;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.io.RandomAccessFile;
import java.nio.file.Path;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;
import temse.protocol.Packet;

/** New bodies of 500 MB, out of a heap of 64 MB. */
@Timeout(180)
class LargeBodiesTest {
  /** What the sockets of both sides, and the server, may hold of what nobody reads. */
  private static final long IN_TRANSIT = 32L * 1024 * 1024;

  @Test
  void aStreamAndAFileOf500MbTravelThroughAHeapOf64Mb(@TempDir Path directory) throws Exception {
    Path large = directory.resolve("large");
    try (RandomAccessFile file = new RandomAccessFile(large.toFile(), "rw")) {
      file.setLength(SmallServer.LARGE);
    }
    long stalled;
    try (SmallProcess server = new SmallProcess("64m", "file=" + large)) {
      try (RawMta mta = RawMta.connect(server.port).negotiate()) {
        mta.sendMessage("<stream>");
        stalled = awaitStandstill(server);
        assertTrue(stalled < IN_TRANSIT, stalled + " octets were made for nobody");
        readBody(mta, true);
        mta.sendMessage("<file>");
        readBody(mta, false);
        mta.sendMessage("<a@example.org>");
        assertEquals('a', mta.readVerdict());
      }
      System.out.printf(
          "500 MB through a heap of 64 MB: at most %d KiB in use, %d KiB made before any was"
              + " read%n",
          server.ask("peak") / 1024, stalled / 1024);
    }
  }

  /** Returns how much was produced when the reader's slowness has brought it to a standstill. */
  private static long awaitStandstill(SmallProcess server) throws Exception {
    long before = -1;
    for (long now = 0; now != before || now == 0; now = server.ask("produced")) {
      before = now;
      Thread.sleep(200);
    }
    return before;
  }

  private static void readBody(RawMta mta, boolean generated) throws IOException {
    long octets = 0;
    while (true) {
      Packet packet = mta.read();
      assertTrue(packet != null, "the milter has closed the connection");
      if (packet.code() == 'a') {
        assertEquals(SmallServer.LARGE, octets);
        return;
      }
      if (packet.code() == 'c' && octets == 0) {
        continue;
      }
      assertEquals('b', (char) packet.code());
      byte[] piece = packet.payload();
      int last = piece.length - 1;
      assertEquals(generated ? SmallServer.octet(octets) : 0, piece[0]);
      assertEquals(generated ? SmallServer.octet(octets + last) : 0, piece[last]);
      octets += piece.length;
    }
  }
}
