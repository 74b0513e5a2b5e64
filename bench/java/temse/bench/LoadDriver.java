package temse.bench;

import java.io.IOException;
import java.net.StandardSocketOptions;
import java.net.UnixDomainSocketAddress;
import java.nio.ByteBuffer;
import java.nio.channels.SelectionKey;
import java.nio.channels.Selector;
import java.nio.channels.SocketChannel;
import java.util.ArrayList;
import java.util.EnumMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.TimeUnit;

/** The MTA side: plays a workload on one selector loop and checks every byte of every answer. */
final class LoadDriver {
  private static final long LOOK = TimeUnit.MILLISECONDS.toNanos(25);
  private static final long PATIENCE = TimeUnit.SECONDS.toNanos(20);

  private final Workload workload;
  private final Server server;
  private final CpuClock clock;
  private final long wantedCpu;
  private final long longest;
  private final Script script;
  private final Selector selector = Selector.open();
  private final ByteBuffer input = ByteBuffer.allocateDirect(64 * 1024);
  private final Map<Stage, Histogram> latencies = new EnumMap<>(Stage.class);
  private int open;
  private long messages;
  private long messagesBefore;
  private long cpuBefore;
  private long begun;
  private Sample sample;
  private long idleMemory;
  private IOException problem;

  private LoadDriver(
      Workload workload, Server server, CpuClock clock, double cpuSeconds, double seconds)
      throws IOException {
    this.workload = workload;
    this.server = server;
    this.clock = clock;
    this.wantedCpu = (long) (cpuSeconds * 1e9);
    this.longest = (long) (seconds * 1e9);
    this.script = new Script(workload, negotiate(server));
    for (Stage stage : Stage.values()) {
      latencies.put(stage, new Histogram());
    }
  }

  /**
   * Measures from when each connection has had its first mail until the server has used so much CPU
   * time, or the time is up.
   *
   * @throws IOException if an answer is wrong or missing
   */
  static Sample run(
      Workload workload, Server server, CpuClock clock, double cpuSeconds, double seconds)
      throws IOException {
    LoadDriver driver = new LoadDriver(workload, server, clock, cpuSeconds, seconds);
    try {
      return driver.run();
    } catch (IOException e) {
      throw new IOException(server.name() + ", " + workload.name() + ": " + e.getMessage(), e);
    } finally {
      driver.selector.close();
    }
  }

  /** Returns the server's answer to the offer. */
  private static byte[] negotiate(Server server) throws IOException {
    try (SocketChannel channel = SocketChannel.open(server.address())) {
      channel.write(ByteBuffer.wrap(Script.OFFER));
      ByteBuffer length = ByteBuffer.allocate(Integer.BYTES);
      fill(channel, length);
      ByteBuffer answer = ByteBuffer.allocate(Integer.BYTES + length.getInt(0));
      fill(channel, answer.put(length.flip()));
      return answer.array();
    }
  }

  private static void fill(SocketChannel channel, ByteBuffer buffer) throws IOException {
    while (buffer.hasRemaining()) {
      if (channel.read(buffer) < 0) {
        throw new IOException("the connection was closed in the negotiation");
      }
    }
  }

  private Sample run() throws IOException {
    List<SocketChannel> idle = openIdle();
    long lastProgress = System.nanoTime();
    long seen = 0;
    long look = 0;
    long started = 0;
    long start = System.nanoTime();
    for (int i = 0; i < workload.connections(); i++) {
      new Conversation();
    }
    while (sample == null || open > 0) {
      if (workload.perSecond() > 0) {
        long due = (System.nanoTime() - start) * workload.perSecond() / 1_000_000_000 + 1;
        for (; sample == null && started < due; started++) {
          new Conversation();
        }
      }
      selector.select(this::serve, workload.perSecond() > 0 ? 1 : 100);
      if (problem != null) {
        throw problem;
      }
      long now = System.nanoTime();
      if (now - look > LOOK) {
        look = now;
        measure(now);
        if (messages != seen) {
          seen = messages;
          lastProgress = now;
        } else if (now - lastProgress > PATIENCE) {
          throw new IOException("there was no answer for too long; " + open + " are waiting");
        }
      }
    }
    for (SocketChannel channel : idle) {
      channel.close();
    }
    return sample;
  }

  private List<SocketChannel> openIdle() throws IOException {
    List<SocketChannel> idle = new ArrayList<>();
    long before = server.residentMemory();
    for (int i = 0; i < workload.idle(); i++) {
      SocketChannel channel = SocketChannel.open(server.address());
      channel.write(ByteBuffer.wrap(Script.OFFER));
      fill(channel, ByteBuffer.allocate(script.first[0].answer().length));
      idle.add(channel);
    }
    if (!idle.isEmpty()) {
      idleMemory = Math.max(0, server.residentMemory() - before) / idle.size();
    }
    return idle;
  }

  private void measure(long now) throws IOException {
    if (sample != null || messages < Math.max(1, workload.connections())) {
      return;
    }
    long cpu = clock.nanos(server.pid());
    if (begun == 0) {
      begun = now;
      messagesBefore = messages;
      cpuBefore = cpu;
      latencies.replaceAll((stage, old) -> new Histogram());
    } else if (messages > messagesBefore
        && (cpu - cpuBefore >= wantedCpu || now - begun >= longest)) {
      sample =
          new Sample(
              messages - messagesBefore,
              now - begun,
              cpu - cpuBefore,
              server.residentMemory(),
              idleMemory,
              Map.copyOf(latencies));
    }
  }

  private void serve(SelectionKey key) {
    Conversation conversation = (Conversation) key.attachment();
    try {
      if (key.isWritable()) {
        conversation.write();
      } else {
        conversation.read();
      }
    } catch (IOException e) {
      problem = e;
    }
  }

  private final class Conversation {
    private final SocketChannel channel;
    private final SelectionKey key;
    private Script.Step[] steps = script.first;
    private int place;
    private int mails;
    private int matched;
    private ByteBuffer output;
    private long sentAt;

    Conversation() throws IOException {
      channel = SocketChannel.open(server.address());
      channel.configureBlocking(false);
      if (!(server.address() instanceof UnixDomainSocketAddress)) {
        channel.setOption(StandardSocketOptions.TCP_NODELAY, true);
      }
      key = channel.register(selector, SelectionKey.OP_READ, this);
      open++;
      send();
    }

    private void send() throws IOException {
      matched = 0;
      sentAt = System.nanoTime();
      output = steps[place].bytes().duplicate();
      write();
    }

    void write() throws IOException {
      channel.write(output);
      int wanted = output.hasRemaining() ? SelectionKey.OP_WRITE : SelectionKey.OP_READ;
      if (key.interestOps() != wanted) {
        key.interestOps(wanted);
      }
    }

    void read() throws IOException {
      int length = channel.read(input.clear());
      Script.Step step = steps[place];
      byte[] answer = step.answer();
      if (length < 0) {
        throw new IOException("the connection was closed instead of an answer to " + step.stage());
      }
      for (int i = 0; i < length; i++) {
        if (matched == answer.length || input.get(i) != answer[matched++]) {
          throw new IOException("the answer to " + step.stage() + " is wrong");
        }
      }
      if (matched == answer.length) {
        latencies.get(step.stage()).add(System.nanoTime() - sentAt);
        goOn();
      }
    }

    private void goOn() throws IOException {
      if (++place < steps.length) {
        send();
        return;
      }
      messages++;
      mails++;
      if (sample == null && mails != workload.mails()) {
        steps = script.next;
        place = 0;
        send();
        return;
      }
      channel.write(script.goodbye.duplicate());
      channel.close();
      open--;
      if (sample == null && workload.connections() > 0) {
        new Conversation();
      }
    }
  }
}
