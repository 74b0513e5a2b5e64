package temse.limits;

import java.io.IOException;
import java.net.InetSocketAddress;
import java.nio.ByteBuffer;
import java.nio.channels.SocketChannel;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import temse.protocol.Offer;
import temse.protocol.Packet;

/**
 * A load of mail beside thousands of connections that do nothing, and others that send a byte now
 * and then.
 *
 * <pre>
 * java -cp … temse.limits.ManyConnections 5000 200 4 5000
 * </pre>
 */
public final class ManyConnections {
  private static final long PAUSE_MILLIS = 20;

  private ManyConnections() {}

  /**
   * What was seen.
   *
   * @param accepted mails of the load that were accepted beside the other connections
   * @param open connections that the server has at the end, those of the load not included
   * @param bytesEach of the heap, for each connection that does nothing
   * @param alone the latency of the load alone, in microseconds: median, 99 of 100, longest
   * @param beside the same beside the other connections
   */
  record Outcome(int accepted, long open, long bytesEach, long[] alone, long[] beside) {
    @Override
    public String toString() {
      return accepted
          + " mails accepted beside "
          + open
          + " connections, each of which takes "
          + bytesEach
          + " bytes of the heap; microseconds (median, 99 of 100, longest) alone "
          + Arrays.toString(alone)
          + ", beside them "
          + Arrays.toString(beside);
    }
  }

  static Outcome run(int idle, int dribbling, int clients, int mails) throws Exception {
    List<SocketChannel> silent = new ArrayList<>();
    List<SocketChannel> slow = new ArrayList<>();
    try (SmallProcess server = new SmallProcess("256m")) {
      load(server.port, clients, mails);
      long[] alone = load(server.port, clients, mails);
      long before = server.ask("used");
      for (int i = 0; i < idle; i++) {
        silent.add(negotiated(server.port));
      }
      long bytesEach = idle == 0 ? 0 : (server.ask("used") - before) / idle;
      for (int i = 0; i < dribbling; i++) {
        slow.add(negotiated(server.port));
      }
      Thread dribble = new Thread(() -> dribble(slow));
      dribble.start();
      long[] beside = load(server.port, clients, mails);
      long open = connections(server, idle + dribbling);
      dribble.interrupt();
      dribble.join();
      return new Outcome(beside.length, open, bytesEach, summary(alone), summary(beside));
    } finally {
      for (List<SocketChannel> channels : List.of(silent, slow)) {
        for (SocketChannel channel : channels) {
          channel.close();
        }
      }
    }
  }

  /** Returns how many there are once the server has noticed that those of the load are gone. */
  private static long connections(SmallProcess server, int most) throws IOException {
    long end = System.nanoTime() + TimeUnit.SECONDS.toNanos(20);
    long open;
    do {
      open = server.ask("connections");
    } while (open > most && System.nanoTime() < end);
    return open;
  }

  private static SocketChannel negotiated(int port) throws IOException {
    SocketChannel channel = SocketChannel.open(new InetSocketAddress("127.0.0.1", port));
    channel.write(ByteBuffer.wrap(Offer.CURRENT.packet().toBytes()));
    ByteBuffer answer = ByteBuffer.allocate(1024);
    if (channel.read(answer) <= 0 || answer.get(4) != 'O') {
      throw new IOException("the offer was not answered");
    }
    return channel;
  }

  /** Sends each a byte of a long packet, again and again, until it is interrupted. */
  private static void dribble(List<SocketChannel> channels) {
    byte[] packet = new Packet((byte) 'B', new byte[65535]).toBytes();
    try {
      for (int place = 0; ; place++) {
        for (SocketChannel channel : channels) {
          channel.write(ByteBuffer.wrap(packet, place, 1));
        }
        Thread.sleep(PAUSE_MILLIS);
      }
    } catch (IOException | InterruptedException over) {
      // The load is over.
    }
  }

  /** Returns how many nanoseconds each mail took that was accepted, shortest first. */
  private static long[] load(int port, int clients, int mails) throws Exception {
    ExecutorService threads = Executors.newFixedThreadPool(clients);
    try {
      List<Future<long[]>> parts = new ArrayList<>();
      for (int i = 0; i < clients; i++) {
        parts.add(threads.submit(() -> mails(port, mails / clients)));
      }
      List<long[]> all = new ArrayList<>();
      for (Future<long[]> part : parts) {
        all.add(part.get());
      }
      return all.stream().flatMapToLong(Arrays::stream).sorted().toArray();
    } finally {
      threads.shutdownNow();
    }
  }

  private static long[] mails(int port, int mails) throws IOException {
    long[] nanos = new long[mails];
    int accepted = 0;
    try (RawMta mta = RawMta.connect(port).negotiate()) {
      for (int i = 0; i < mails; i++) {
        long start = System.nanoTime();
        if (mta.sendMessage("<a@example.org>").readVerdict() == 'a') {
          nanos[accepted++] = System.nanoTime() - start;
        }
      }
    }
    return Arrays.copyOf(nanos, accepted);
  }

  private static long[] summary(long[] sorted) {
    return new long[] {
      sorted[sorted.length / 2] / 1000,
      sorted[sorted.length * 99 / 100] / 1000,
      sorted[sorted.length - 1] / 1000
    };
  }

  /** Arguments: connections that do nothing, that dribble, that send mail, and mails in all. */
  public static void main(String[] args) throws Exception {
    System.out.println(
        run(
            Integer.parseInt(args[0]),
            Integer.parseInt(args[1]),
            Integer.parseInt(args[2]),
            Integer.parseInt(args[3])));
  }
}
