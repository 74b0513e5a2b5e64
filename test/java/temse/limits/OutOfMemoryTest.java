package temse.limits;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import temse.protocol.Packet;

/** What becomes of mail when a server has no memory. */
@Timeout(180)
class OutOfMemoryTest {
  private static final int MIB = 1024 * 1024;

  /** Returns how many octets of a new body came before the verdict, which ends what is read. */
  private record Outcome(char verdict, long octets) {}

  private static Outcome outcome(RawMta mta, String sender) throws IOException {
    mta.sendMessage(sender);
    long octets = 0;
    while (true) {
      Packet packet = mta.read();
      assertTrue(packet != null, "the milter has closed the connection of " + sender);
      switch ((char) packet.code()) {
        case 'c' -> assertEquals(0, octets);
        case 'b' -> octets += packet.payload().length;
        default -> {
          return new Outcome((char) packet.code(), octets);
        }
      }
    }
  }

  /** Sends two mails on the connection and one on another: no answer is left over, all pass. */
  private static void assertServed(SmallProcess server, RawMta mta) throws IOException {
    assertEquals(new Outcome('a', 0), outcome(mta, "<a@example.org>"));
    assertEquals(new Outcome('a', 0), outcome(mta, "<a@example.org>"));
    try (RawMta other = RawMta.connect(server.port).negotiate()) {
      assertEquals(new Outcome('a', 0), outcome(other, "<a@example.org>"));
    }
  }

  @Test
  void handlersThatRunOutOfMemoryDeferTheirMailAndNoOther() throws Exception {
    try (SmallProcess server = new SmallProcess("256m");
        RawMta mta = RawMta.connect(server.port).negotiate()) {
      for (String sender : List.of("<hoard>", "<hoard-watching>", "<too-many-bytes>", "<hoard>")) {
        assertEquals(new Outcome('t', 0), outcome(mta, sender), sender);
        assertServed(server, mta);
      }
    }
  }

  @Test
  void aLargeBodyInMemoryTravelsAsAWholeOrDefersTheMail() throws Exception {
    try (SmallProcess server = new SmallProcess("256m");
        RawMta mta = RawMta.connect(server.port).negotiate()) {
      for (String sender : List.of("<bytes>", "<text>", "<bytes>", "<text>")) {
        Outcome outcome = outcome(mta, sender);
        assertTrue(
            outcome.equals(new Outcome('a', 70L * MIB)) || outcome.verdict() == 't',
            () -> sender + " " + outcome);
        assertServed(server, mta);
      }
    }
  }

  /** Begins packets of 2 MiB on so many connections and lacks one octet of each. */
  private static List<RawMta> besiege(SmallProcess server, int connections) throws IOException {
    byte[] packet = new byte[2 * MIB + 3];
    ByteBuffer.wrap(packet).putInt(2 * MIB).put((byte) 'B');
    List<RawMta> peers = new ArrayList<>();
    for (int i = 0; i < connections; i++) {
      try {
        RawMta peer = RawMta.connect(server.port);
        peers.add(peer);
        peer.negotiate().sendBytes(packet);
      } catch (IOException refused) {
        if (!server.isAlive()) {
          break;
        }
      }
    }
    return peers;
  }

  private static void lift(List<RawMta> peers) throws IOException {
    for (RawMta peer : peers) {
      peer.close();
    }
  }

  @Test
  void unfinishedPacketsOf900ConnectionsTakeNoMoreThanTheyMay() throws Exception {
    try (SmallProcess server = new SmallProcess("256m")) {
      List<RawMta> peers = besiege(server, 900);
      assertEquals(900, peers.size());
      try (RawMta mta = RawMta.connect(server.port).negotiate()) {
        assertServed(server, mta);
      }
      long refused = server.ask("limits");
      assertTrue(refused >= 900 - 32, () -> refused + " went beyond");
      long limit = System.nanoTime() + TimeUnit.SECONDS.toNanos(10);
      while (server.ask("connections") > 32 && System.nanoTime() < limit) {
        Thread.onSpinWait();
      }
      assertTrue(server.ask("connections") <= 32, "those that did not fit are closed");
      lift(peers);
    }
  }

  @Test
  void withoutThatBoundMailIsServedOrTheProcessEnds() throws Exception {
    try (SmallProcess server = new SmallProcess("64m", "unfinished=" + Long.MAX_VALUE)) {
      List<RawMta> peers = besiege(server, 225);
      lift(peers);
      String fate;
      try (RawMta mta = RawMta.connect(server.port).negotiate()) {
        assertServed(server, mta);
        fate = "mail is served";
      } catch (IOException e) {
        assertEquals(SmallProcess.FATAL, server.awaitEnd());
        fate = "the process ends with code " + SmallProcess.FATAL;
      }
      System.out.println("225 unfinished packets of 2 MB in 64 MB: " + fate);
    }
  }
}
