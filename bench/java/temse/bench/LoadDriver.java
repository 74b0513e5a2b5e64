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
  /** Time between two looks at the clocks; longer if a look would be seen in the latencies. */
  private static final long LOOK = TimeUnit.MILLISECONDS.toNanos(25);

  private static final long LOOK_BETWEEN_PACED = TimeUnit.MILLISECONDS.toNanos(250);

  /** How often each slow connection sends a byte. */
  private static final long SLOW = TimeUnit.MILLISECONDS.toNanos(50);

  /** What a slow connection sends again and again. */
  private static final byte[] SLOW_MACROS = {0, 0, 0, 6, 'D', 'M', 'x', 0, 'y', 0};

  private static final long PATIENCE = TimeUnit.SECONDS.toNanos(20);

  /** Connections that wait for the answer to the offer, fewer than any server's backlog. */
  private static final int TOGETHER = 200;

  private final Workload workload;
  private final Server server;
  private final CpuClock clock;
  private final Length length;
  private final Script script;
  private final double answersPerMessage;
  private final Selector selector = Selector.open();
  private final ByteBuffer input = ByteBuffer.allocateDirect(64 * 1024);
  private final List<Conversation> waiting = new ArrayList<>();
  private final Map<Stage, Histogram> latencies = new EnumMap<>(Stage.class);
  private int open;
  private long begunConversations;
  private long mailsBegun;
  private long negotiated;
  private long events;
  private long eventsBefore;
  private long cpuBefore;
  private long begun;
  private Sample sample;
  private long idleMemory;
  private IOException problem;

  private LoadDriver(Workload workload, Server server, CpuClock clock, Length length)
      throws IOException {
    this.workload = workload;
    this.server = server;
    this.clock = clock;
    this.length = length;
    this.script = new Script(workload, negotiate(server));
    this.answersPerMessage = script.answersPerMessage(workload);
    for (Stage stage : Stage.values()) {
      latencies.put(stage, new Histogram());
    }
  }

  /**
   * Measures from when all connections are there.
   *
   * @throws IOException if an answer is wrong or missing
   */
  static Sample run(Workload workload, Server server, CpuClock clock, Length length)
      throws IOException {
    try {
      LoadDriver driver = new LoadDriver(workload, server, clock, length);
      try {
        return driver.run();
      } finally {
        driver.selector.close();
      }
    } catch (IOException e) {
      throw new IOException(server.name() + ", " + workload.name() + ": " + e.getMessage(), e);
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
    List<SocketChannel> idle = openIdle(workload.idle());
    List<SocketChannel> slow = openIdle(workload.slow());
    long slowSent = 0;
    long lastProgress = System.nanoTime();
    long seen = 0;
    long look = 0;
    long betweenLooks = workload.eventsPerSecond() > 0 ? LOOK_BETWEEN_PACED : LOOK;
    long start = System.nanoTime();
    while (sample == null || open > 0) {
      long now = System.nanoTime();
      for (long due = sample == null ? due(now - start) : 0; due > 0; due--) {
        new Conversation();
      }
      sendWhatIsDue(now);
      for (; slowSent < (now - start) / SLOW * slow.size(); slowSent++) {
        int place = (int) (slowSent / slow.size() % SLOW_MACROS.length);
        slow.get((int) (slowSent % slow.size())).write(ByteBuffer.wrap(SLOW_MACROS, place, 1));
      }
      select();
      if (problem != null) {
        throw problem;
      }
      if (now - look > betweenLooks) {
        look = now;
        measure(now);
        if (events != seen) {
          seen = events;
          lastProgress = now;
        } else if (now - lastProgress > PATIENCE) {
          throw new IOException("there was no answer for too long; " + open + " are waiting");
        }
      }
    }
    idle.addAll(slow);
    for (SocketChannel channel : idle) {
      channel.close();
    }
    return sample;
  }

  private List<SocketChannel> openIdle(int count) throws IOException {
    List<SocketChannel> idle = new ArrayList<>();
    long before = server.residentMemory();
    while (idle.size() < count) {
      int first = idle.size();
      for (int i = 0; i < TOGETHER; i++) {
        SocketChannel channel = SocketChannel.open(server.address());
        channel.write(ByteBuffer.wrap(Script.OFFER));
        idle.add(channel);
      }
      for (SocketChannel channel : idle.subList(first, idle.size())) {
        fill(channel, ByteBuffer.allocate(script.first(0)[0].answer().length));
      }
    }
    if (!idle.isEmpty()) {
      idleMemory = Math.max(0, server.residentMemory() - before) / idle.size();
    }
    return idle;
  }

  /** Returns how many conversations are to begin now. */
  private long due(long elapsed) {
    return workload.mailsPerSecond() > 0
        ? elapsed * workload.mailsPerSecond() / 1_000_000_000 + 1 - begunConversations
        : Math.min(workload.connections() - open, TOGETHER - (begunConversations - negotiated));
  }

  /** Whether all connections were opened; until then no mail begins. */
  private boolean isComplete() {
    return negotiated >= workload.connections();
  }

  private void sendWhatIsDue(long now) {
    if (isComplete()) {
      waiting.removeIf(conversation -> conversation.sendIfDue(now));
    }
  }

  private void select() throws IOException {
    if (workload.eventsPerSecond() > 0) {
      selector.selectNow(this::serve);
    } else {
      selector.select(this::serve, workload.mailsPerSecond() > 0 ? 1 : 100);
    }
  }

  private void measure(long now) throws IOException {
    if (sample != null || !isComplete() || events == 0) {
      return;
    }
    long cpu = clock.nanos(server.pid());
    if (begun == 0) {
      begun = now;
      eventsBefore = events;
      cpuBefore = cpu;
      latencies.replaceAll((stage, old) -> new Histogram());
    } else if (isEnough(cpu - cpuBefore, now - begun)) {
      sample =
          new Sample(
              events - eventsBefore,
              (events - eventsBefore) / answersPerMessage,
              now - begun,
              cpu - cpuBefore,
              server.residentMemory(),
              idleMemory,
              Map.copyOf(latencies));
    }
  }

  private boolean isEnough(long cpuNanos, long nanos) {
    double messages = (events - eventsBefore) / answersPerMessage;
    double seconds = nanos / 1e9;
    return messages >= Math.max(length.messages(), workload.connections())
            && (cpuNanos >= length.cpuSeconds() * 1e9 || seconds >= length.seconds())
        || messages > 0 && seconds >= Length.PATIENCE * length.seconds();
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
    private Script.Step[] steps = script.first(mailsBegun++);
    private int place;
    private int mails;
    private int matched;
    private ByteBuffer output;
    private long due;
    private boolean waits;

    Conversation() throws IOException {
      channel = SocketChannel.open(server.address());
      channel.configureBlocking(false);
      if (!(server.address() instanceof UnixDomainSocketAddress)) {
        channel.setOption(StandardSocketOptions.TCP_NODELAY, true);
      }
      key = channel.register(selector, SelectionKey.OP_READ, this);
      due = System.nanoTime();
      if (workload.eventsPerSecond() > 0) {
        due += open * interval() / workload.connections();
      }
      open++;
      begunConversations++;
      send();
    }

    private long interval() {
      return 1_000_000_000 / workload.eventsPerSecond();
    }

    private void sendNext() throws IOException {
      long now = System.nanoTime();
      due = workload.eventsPerSecond() > 0 ? Math.max(due + interval(), now) : now;
      if (workload.eventsPerSecond() > 0 || !isComplete()) {
        waits = true;
        waiting.add(this);
      } else {
        send();
      }
    }

    /** Sends if it is time to, and returns whether it was. */
    boolean sendIfDue(long now) {
      if (now - due < 0) {
        return false;
      }
      waits = false;
      try {
        send();
      } catch (IOException e) {
        problem = e;
      }
      return true;
    }

    private void send() throws IOException {
      matched = 0;
      output = steps[place].bytes().duplicate();
      write();
    }

    void write() throws IOException {
      int end = output.limit();
      if (output.remaining() > workload.octetsPerWrite()) {
        output.limit(output.position() + workload.octetsPerWrite());
      }
      channel.write(output);
      output.limit(end);
      int wanted = output.hasRemaining() ? SelectionKey.OP_WRITE : SelectionKey.OP_READ;
      if (key.interestOps() != wanted) {
        key.interestOps(wanted);
      }
    }

    void read() throws IOException {
      int count = channel.read(input.clear());
      Script.Step step = steps[place];
      byte[] answer = step.answer();
      if (count < 0) {
        throw new IOException("the connection was closed instead of an answer to " + step.stage());
      }
      for (int i = 0; i < count; i++) {
        if (waits || matched == answer.length || input.get(i) != answer[matched++]) {
          throw new IOException("the answer to " + step.stage() + " is wrong");
        }
      }
      if (matched == answer.length) {
        latencies.get(step.stage()).add(System.nanoTime() - due);
        events++;
        if (step.stage() == Stage.OPTIONS) {
          negotiated++;
        }
        goOn();
      }
    }

    private void goOn() throws IOException {
      if (++place == steps.length) {
        mails++;
        steps = script.next(mailsBegun++);
        place = 0;
      }
      if (sample == null && (place > 0 || mails != workload.mails())) {
        sendNext();
        return;
      }
      channel.write(script.goodbye.duplicate());
      channel.close();
      open--;
    }
  }
}
