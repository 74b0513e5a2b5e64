package temse.bench;

import java.io.Closeable;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.net.SocketAddress;
import java.net.StandardSocketOptions;
import java.net.UnixDomainSocketAddress;
import java.nio.ByteBuffer;
import java.nio.channels.SelectionKey;
import java.nio.channels.Selector;
import java.nio.channels.SocketChannel;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.TimeUnit;

/** The MTA side: plays a workload on one selector loop and checks every byte of every answer. */
public final class LoadDriver implements Closeable {
  private static final double SECOND = 1e9;

  /** Time between two looks at the clocks; longer where a look would be seen in the latencies. */
  private static final long LOOK = TimeUnit.MILLISECONDS.toNanos(25);

  private static final long LOOK_BETWEEN_PACED = TimeUnit.MILLISECONDS.toNanos(250);

  /** How often each slow connection sends a byte. */
  private static final long SLOW = TimeUnit.MILLISECONDS.toNanos(50);

  /** What a slow connection sends again and again. */
  private static final byte[] SLOW_MACROS = {0, 0, 0, 6, 'D', 'M', 'x', 0, 'y', 0};

  private static final long PATIENCE = TimeUnit.SECONDS.toNanos(20);

  /** A run without a message on each connection ends after this multiple of its time. */
  private static final int PATIENCE_FOR_MESSAGES = 4;

  /** Connections that wait for the answer to the offer, fewer than any server's backlog. */
  private static final int TOGETHER = 200;

  private final Workload workload;
  private final SocketAddress address;
  private final long pid;
  private final CpuClock clock;
  private final double cpuSeconds;
  private final double seconds;
  private final Script script;
  private final Selector selector = Selector.open();
  private final ByteBuffer input = ByteBuffer.allocateDirect(64 * 1024);
  private final List<Conversation> waiting = new ArrayList<>();
  private Histogram latency = new Histogram();
  private int open;
  private long begunConversations;
  private long begunMails;
  private long negotiated;
  private long events;
  private long slowSent;
  private long progress;
  private long eventsSeen;
  private long begun;
  private long cpuBefore;
  private long eventsBefore;
  private Sample sample;

  /**
   * Negotiates once, to learn what the server asks for.
   *
   * @param pid the process of the server
   * @param cpuSeconds how much CPU time the server has when it is measured
   * @param seconds after which it is measured even if it has used less
   */
  public LoadDriver(
      Workload workload,
      SocketAddress address,
      long pid,
      CpuClock clock,
      double cpuSeconds,
      double seconds)
      throws IOException {
    this.workload = workload;
    this.address = address;
    this.pid = pid;
    this.clock = clock;
    this.cpuSeconds = cpuSeconds;
    this.seconds = seconds;
    this.script = new Script(workload, negotiate(address));
  }

  @Override
  public void close() throws IOException {
    selector.close();
  }

  /** Returns the server's answer to the offer. */
  private static byte[] negotiate(SocketAddress address) throws IOException {
    try (SocketChannel channel = SocketChannel.open(address)) {
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

  /**
   * Plays the workload and measures from when all connections are there.
   *
   * @throws IOException if an answer is wrong or missing
   */
  public Sample run() throws IOException {
    List<SocketChannel> idle = openIdle(workload.idle());
    List<SocketChannel> slow = openIdle(workload.slow());
    long start = System.nanoTime();
    long look = start;
    progress = start;
    while (sample == null || open > 0) {
      long now = System.nanoTime();
      begin(now - start);
      dribble(slow, now - start);
      select();
      if (now - look >= (workload.isPaced() ? LOOK_BETWEEN_PACED : LOOK)) {
        look = now;
        checkProgress(now);
        measure(now);
      }
    }
    idle.addAll(slow);
    for (SocketChannel channel : idle) {
      channel.close();
    }
    return sample;
  }

  private void checkProgress(long now) throws IOException {
    if (events != eventsSeen) {
      eventsSeen = events;
      progress = now;
    } else if (now - progress > PATIENCE) {
      throw new IOException("there was no answer for too long; " + open + " are waiting");
    }
  }

  private void measure(long now) throws IOException {
    if (sample != null || !isComplete() || events == 0) {
      return;
    }
    long cpu = clock.nanos(pid);
    if (begun == 0) {
      begun = now;
      cpuBefore = cpu;
      eventsBefore = events;
      latency = new Histogram();
      return;
    }
    long measured = events - eventsBefore;
    double messages = measured / script.answersPerMessage();
    if (isEnough(messages, (cpu - cpuBefore) / SECOND, (now - begun) / SECOND)) {
      sample = new Sample(measured, messages, now - begun, cpu - cpuBefore, latency);
      latency = new Histogram();
    }
  }

  private boolean isEnough(double messages, double cpuUsed, double passed) {
    return messages >= Math.max(1, workload.connections())
            && (cpuUsed >= cpuSeconds || passed >= seconds)
        || messages > 0 && passed >= PATIENCE_FOR_MESSAGES * seconds;
  }

  private List<SocketChannel> openIdle(int count) throws IOException {
    List<SocketChannel> idle = new ArrayList<>();
    while (idle.size() < count) {
      int first = idle.size();
      for (int i = 0; i < TOGETHER; i++) {
        SocketChannel channel = SocketChannel.open(address);
        channel.write(ByteBuffer.wrap(Script.OFFER));
        idle.add(channel);
      }
      for (SocketChannel channel : idle.subList(first, idle.size())) {
        fill(channel, ByteBuffer.allocate(script.first(0)[0].answer().length));
      }
    }
    return idle;
  }

  /** Begins the conversations that are due, and sends the events that are. */
  private void begin(long elapsed) throws IOException {
    if (sample == null) {
      long due =
          workload.mailsPerSecond() > 0
              ? (long) (elapsed / SECOND * workload.mailsPerSecond()) + 1 - begunConversations
              : Math.min(
                  workload.connections() - open, TOGETHER - (begunConversations - negotiated));
      for (; due > 0; due--) {
        new Conversation();
      }
    }
    if (isComplete()) {
      long now = System.nanoTime();
      waiting.removeIf(conversation -> conversation.sendIfDue(now));
    }
  }

  /** Whether all connections were opened; until then no mail begins. */
  private boolean isComplete() {
    return negotiated >= workload.connections();
  }

  /** Sends the bytes of slow connections that are due. */
  private void dribble(List<SocketChannel> slow, long elapsed) throws IOException {
    for (; slowSent < elapsed / SLOW * slow.size(); slowSent++) {
      int place = (int) (slowSent / slow.size() % SLOW_MACROS.length);
      slow.get((int) (slowSent % slow.size())).write(ByteBuffer.wrap(SLOW_MACROS, place, 1));
    }
  }

  private void select() throws IOException {
    if (workload.isPaced()) {
      selector.selectNow(this::serve);
    } else {
      selector.select(this::serve, workload.mailsPerSecond() > 0 ? 1 : 100);
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
      throw new UncheckedIOException(e);
    }
  }

  private final class Conversation {
    private final SocketChannel channel;
    private final SelectionKey key;
    private Script.Step[] steps = script.first(begunMails++);
    private int place;
    private int mails;
    private int matched;
    private ByteBuffer output;
    private long due;
    private boolean waits;

    Conversation() throws IOException {
      channel = SocketChannel.open(address);
      channel.configureBlocking(false);
      if (!(address instanceof UnixDomainSocketAddress)) {
        channel.setOption(StandardSocketOptions.TCP_NODELAY, true);
      }
      key = channel.register(selector, SelectionKey.OP_READ, this);
      due = System.nanoTime();
      if (workload.isPaced()) {
        due += open * interval() / workload.connections();
      }
      open++;
      begunConversations++;
      send();
    }

    private long interval() {
      return (long) SECOND / workload.eventsPerSecond();
    }

    private void sendNext() throws IOException {
      long now = System.nanoTime();
      due = workload.isPaced() ? Math.max(due + interval(), now) : now;
      if (workload.isPaced() || !isComplete()) {
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
        throw new UncheckedIOException(e);
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
        latency.add(System.nanoTime() - due);
        events++;
        if (step.stage() == Script.Stage.OPTIONS) {
          negotiated++;
        }
        goOn();
      }
    }

    private void goOn() throws IOException {
      if (++place == steps.length) {
        mails++;
        steps = script.next(begunMails++);
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
