package temse.limits;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;
import temse.protocol.Offer;

/** What becomes of mail when the system gives no more descriptors or threads. */
@Timeout(120)
class ExhaustionTest {
  /** So often a handler is fast before it is no more expected to block. */
  private static final int PROVED_FAST = 40;

  private static final List<String> FEW_DESCRIPTORS = List.of("-Xmx64m", "-XX:+UseSerialGC");

  /** The address space is used up by the stacks of a few threads. */
  private static final List<String> FEW_THREADS =
      List.of(
          "-Xmx64m",
          "-XX:+UseSerialGC",
          "-Xlog:disable",
          "-XX:ReservedCodeCacheSize=48m",
          "-XX:CompressedClassSpaceSize=48m",
          "-Xss1g");

  @TempDir Path directory;

  private interface Condition {
    boolean holds() throws IOException;
  }

  private static void await(String what, Condition condition) throws IOException {
    long limit = System.nanoTime() + TimeUnit.SECONDS.toNanos(30);
    while (!condition.holds()) {
      assertTrue(System.nanoTime() < limit, what);
      Thread.onSpinWait();
    }
  }

  @Test
  void withoutDescriptorsOpenConnectionsAreServedAndNewOnesWait() throws Exception {
    List<RawMta> idle = new ArrayList<>();
    long begin = System.nanoTime();
    try (SmallProcess server = SmallProcess.limited("-n 150", directory, FEW_DESCRIPTORS);
        RawMta mta = RawMta.connect(server.port).negotiate()) {
      assertEquals('a', mta.sendMessage("<a@example.org>").readVerdict());
      for (int i = 0; i < 200; i++) {
        idle.add(RawMta.connect(server.port));
      }
      await("it says that there is no descriptor", () -> server.ask("troubles") > 0);
      for (int i = 0; i < 20; i++) {
        assertEquals('a', mta.sendMessage("<a@example.org>").readVerdict());
      }
      try (RawMta late = RawMta.connect(server.port)) {
        late.sendBytes(Offer.CURRENT.packet().toBytes());
        for (RawMta peer : idle) {
          peer.close();
        }
        assertEquals("O", late.readCodes(1));
        assertEquals('a', late.sendMessage("<a@example.org>").readVerdict());
      }
      long minutes = TimeUnit.NANOSECONDS.toMinutes(System.nanoTime() - begin);
      long troubles = server.ask("troubles");
      assertTrue(troubles <= 1 + minutes, "it says so once a minute, not " + troubles + " times");
    }
  }

  @Test
  void withoutThreadsMailThatNeedsOneIsDeferredAndOtherMailIsServed() throws Exception {
    int clients = 40;
    ExecutorService readers = Executors.newFixedThreadPool(clients);
    List<RawMta> peers = new ArrayList<>();
    AtomicInteger deferred = new AtomicInteger();
    try (SmallProcess server =
        SmallProcess.limited(
            "-v 25000000", directory, FEW_THREADS, "blockedWait=1000", "grace=100")) {
      List<Future<Character>> verdicts = new ArrayList<>();
      try (RawMta fast = RawMta.connect(server.port).negotiate()) {
        for (int i = 0; i < clients; i++) {
          peers.add(RawMta.connect(server.port).negotiate());
        }
        for (int i = 0; i < PROVED_FAST; i++) {
          assertEquals('r', fast.send('M', "<refused>\0").readVerdict());
        }
        for (RawMta peer : peers) {
          verdicts.add(
              readers.submit(
                  () -> {
                    char verdict = peer.sendMessage("<wait>").readVerdict();
                    deferred.addAndGet(verdict == 't' ? 1 : 0);
                    return verdict;
                  }));
        }
        await(
            "each has a thread or is deferred",
            () -> server.ask("waiting") + deferred.get() == clients);
        assertTrue(deferred.get() > 0, "there are threads for all");
        assertTrue(server.ask("waiting") > 0, "there is a thread for nobody");
        for (int i = 0; i < PROVED_FAST; i++) {
          assertEquals('r', fast.send('M', "<refused>\0").readVerdict());
        }
        server.ask("release");
        int accepted = 0;
        for (Future<Character> verdict : verdicts) {
          accepted += verdict.get() == 'a' ? 1 : 0;
        }
        assertEquals(clients, accepted + deferred.get());
        assertEquals('a', fast.sendMessage("<a@example.org>").readVerdict());
      }
      for (RawMta peer : peers) {
        assertEquals('a', peer.sendMessage("<a@example.org>").readVerdict());
        peer.close();
      }
    } finally {
      readers.shutdownNow();
    }
  }

  @Test
  void aFloodOfProgressThatNobodyReadsTakesNoMemory() throws Exception {
    Path socket = directory.resolve("socket");
    try (SmallProcess server = new SmallProcess("64m", "socket=" + socket);
        RawMta mta = RawMta.connect(socket).negotiate()) {
      mta.sendMessage("<flood>");
      while (server.ask("floods") == 0) {
        try (RawMta other = RawMta.connect(server.port).negotiate()) {
          assertEquals('a', other.sendMessage("<a@example.org>").readVerdict());
        }
      }
      assertEquals('a', mta.readVerdict());
    }
  }
}
