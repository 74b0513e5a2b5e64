package temse.limits;

import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.concurrent.CyclicBarrier;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.stream.Stream;
import java.util.zip.CRC32;
import temse.message.MessageFilter;
import temse.message.MessageStore;
import temse.protocol.Action;
import temse.protocol.ActionFlag;
import temse.protocol.Packet;
import temse.server.MilterServer;

/**
 * Many large messages at once, for a filter in a process with little memory that reads each body as
 * a stream. All bodies are there before the first message ends.
 *
 * <pre>
 * java -cp … temse.limits.WholeMessages 200 25 256m
 * </pre>
 */
public final class WholeMessages {
  private static final int PIECE = 65535;

  private WholeMessages() {}

  /** The filter's process: it adds the checksum of each body. The argument is the directory. */
  static final class Filter {
    private Filter() {}

    public static void main(String[] args) throws InterruptedException {
      MessageFilter filter =
          MessageFilter.of(
                  (message, connection) -> {
                    CRC32 sum = new CRC32();
                    byte[] part = new byte[8192];
                    try (InputStream in = message.body().open()) {
                      for (int count; (count = in.read(part)) > 0; ) {
                        sum.update(part, 0, count);
                      }
                    }
                    return List.of(Action.addHeader("X-Sum", Long.toString(sum.getValue())));
                  })
              .requires(ActionFlag.ADD_HEADER)
              .store(MessageStore.builder().directory(Path.of(args[0])).build())
              .build();
      MilterServer server = MilterServer.builder(filter).listenOn("inet:0@127.0.0.1").start();
      System.out.println(server.port());
      server.join();
    }
  }

  /** A running filter. */
  private record Running(Process process, int port) implements AutoCloseable {
    static Running start(Path directory, String heap) throws IOException {
      Process process =
          new ProcessBuilder(
                  Path.of(System.getProperty("java.home"), "bin", "java").toString(),
                  "-Xmx" + heap,
                  "-cp",
                  System.getProperty("java.class.path"),
                  Filter.class.getName(),
                  directory.toString())
              .redirectError(ProcessBuilder.Redirect.DISCARD)
              .start();
      BufferedReader out = process.inputReader(StandardCharsets.US_ASCII);
      return new Running(process, Integer.parseInt(out.readLine()));
    }

    /** Returns the most memory that the process has had, in MiB, or -1. */
    long peak() throws IOException {
      Path status = Path.of("/proc", Long.toString(process.pid()), "status");
      return !Files.exists(status)
          ? -1
          : Files.readAllLines(status).stream()
              .filter(line -> line.startsWith("VmHWM:"))
              .mapToLong(line -> Long.parseLong(line.replaceAll("\\D", "")) / 1024)
              .findFirst()
              .orElse(-1);
    }

    void kill() throws InterruptedException {
      process.destroyForcibly().waitFor();
    }

    @Override
    public void close() {
      process.destroyForcibly();
    }
  }

  /**
   * What was seen.
   *
   * @param served how many messages were answered with the right checksum
   * @param left temporary files after all of them
   * @param leftByKill temporary files after a kill in the middle of messages, with one that is put
   *     there for the killed process
   * @param leftAfterRestart those after the next process has served one message
   * @param peak the most memory of the process, in MiB
   */
  record Outcome(
      int served, long left, long leftByKill, long leftAfterRestart, long peak, long millis) {}

  static Outcome run(int messages, int mebibytes, String heap, Path directory) throws Exception {
    long start = System.nanoTime();
    int served;
    long left;
    long peak;
    try (Running filter = Running.start(directory, heap)) {
      served = serve(filter.port, messages, mebibytes, true);
      left = files(directory);
      peak = filter.peak();
    }
    long millis = (System.nanoTime() - start) / 1_000_000;
    try (Running killed = Running.start(directory, heap)) {
      serve(killed.port, Math.min(messages, 20), mebibytes, false);
      killed.kill();
      Files.createFile(
          directory.resolve(
              "temse-" + killed.process.pid() + "-1-00000000-0000-0000-0000-000000000000.body"));
    }
    long leftByKill = files(directory);
    try (Running again = Running.start(directory, heap)) {
      serve(again.port, 1, mebibytes, true);
    }
    return new Outcome(served, left, leftByKill, files(directory), peak, millis);
  }

  private static long files(Path directory) throws IOException {
    try (Stream<Path> files = Files.list(directory)) {
      return files.count();
    }
  }

  /** Returns how many of the messages were answered as they should, or only begins them. */
  private static int serve(int port, int messages, int mebibytes, boolean whole) throws Exception {
    ExecutorService clients = Executors.newFixedThreadPool(messages);
    CyclicBarrier allSent = new CyclicBarrier(messages);
    try {
      List<Future<Boolean>> answers = new ArrayList<>();
      for (int i = 0; i < messages; i++) {
        int seed = i;
        answers.add(clients.submit(() -> serve(port, seed, mebibytes, whole, allSent)));
      }
      int right = 0;
      for (Future<Boolean> answer : answers) {
        right += answer.get() ? 1 : 0;
      }
      return right;
    } finally {
      clients.shutdownNow();
    }
  }

  private static boolean serve(
      int port, int seed, int mebibytes, boolean whole, CyclicBarrier allSent) throws Exception {
    byte[] piece = new byte[PIECE];
    CRC32 sum = new CRC32();
    try (RawMta mta = RawMta.connect(port).negotiate()) {
      mta.send('C', "client.example.org\0U").send('H', "client.example.org\0");
      mta.send('M', "<a@example.org>\0").send('R', "<b@example.com>\0");
      mta.send('L', "Subject\0hello\0");
      long left = mebibytes * 1024L * 1024;
      for (int number = 0; left > 0; number++) {
        int length = (int) Math.min(left, PIECE);
        for (int i = 0; i < length; i += 1000) {
          piece[i] = (byte) (seed + number + i);
        }
        sum.update(piece, 0, length);
        byte[] sent = length == PIECE ? piece : Arrays.copyOf(piece, length);
        mta.sendBytes(new Packet((byte) 'B', sent).toBytes());
        left -= length;
      }
      allSent.await();
      return !whole || answer(mta.send('E', "")).equals("X-Sum\0" + sum.getValue() + "\0");
    }
  }

  /** Returns the field that the filter adds, or what it answers else. */
  private static String answer(RawMta mta) throws IOException {
    String field = "";
    while (true) {
      Packet packet = mta.read();
      switch ((char) packet.code()) {
        case 'h' -> field = new String(packet.payload(), StandardCharsets.ISO_8859_1);
        case 'p' -> {}
        case 'c' -> {
          return field;
        }
        default -> {
          return String.valueOf((char) packet.code());
        }
      }
    }
  }

  /** Arguments: messages, MiB of each, heap. */
  public static void main(String[] args) throws Exception {
    Path directory = Files.createTempDirectory("temse-whole");
    try {
      System.out.println(
          run(Integer.parseInt(args[0]), Integer.parseInt(args[1]), args[2], directory));
    } finally {
      Files.delete(directory);
    }
  }
}
