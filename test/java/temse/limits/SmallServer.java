package temse.limits;

import java.io.BufferedReader;
import java.io.File;
import java.io.IOException;
import java.io.InputStream;
import java.io.InputStreamReader;
import java.lang.management.ManagementFactory;
import java.lang.management.MemoryPoolMXBean;
import java.lang.management.MemoryType;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.atomic.AtomicLong;
import temse.protocol.Action;
import temse.protocol.ActionFlag;
import temse.protocol.Event;
import temse.server.EngineOptions;
import temse.server.Milter;
import temse.server.MilterConnection;
import temse.server.MilterServer;
import temse.server.ServerListener;
import temse.server.Step;
import temse.transport.TransportOptions;

/**
 * A server for a process of its own. What it does with a mail, its sender says: {@code <stream>},
 * {@code <file>} &hellip; It prints its port, and answers the commands on its standard input, each
 * by a line: {@code used}, {@code peak}, {@code produced}, {@code connections}, {@code limits},
 * {@code troubles}, {@code waiting}, {@code floods}, {@code release}, {@code clock}. It ends with
 * its standard input. Arguments: {@code unfinished=BYTES}, {@code file=PATH}, {@code
 * blockedWait=MILLIS}, {@code grace=MILLIS}, {@code negotiation=MILLIS}, {@code socket=PATH}.
 */
public final class SmallServer {
  static final long LARGE = 500L * 1024 * 1024;
  private static final int MIB = 1024 * 1024;
  private static final int FLOOD = 20_000_000;
  private static final AtomicLong PRODUCED = new AtomicLong();
  private static final AtomicLong TROUBLES = new AtomicLong();
  private static final AtomicLong WAITING = new AtomicLong();
  private static final AtomicLong FLOODS = new AtomicLong();
  private static volatile CountDownLatch gate = new CountDownLatch(1);
  static Object hoard;

  private SmallServer() {}

  /** An octet of the generated body, by its place. */
  static int octet(long place) {
    return 'a' + (int) (place % 26);
  }

  /** As many octets as wanted, made as they are read. */
  static final class Generated extends InputStream {
    private final long size;
    private long place;

    Generated(long size) {
      this.size = size;
    }

    @Override
    public int read() {
      if (place == size) {
        return -1;
      }
      PRODUCED.incrementAndGet();
      return octet(place++);
    }

    @Override
    public int read(byte[] bytes, int offset, int length) {
      int count = (int) Math.min(length, size - place);
      for (int i = 0; i < count; i++) {
        bytes[offset + i] = (byte) octet(place + i);
      }
      place += count;
      PRODUCED.addAndGet(count);
      return count == 0 && length > 0 ? -1 : count;
    }
  }

  private static String argument(String[] args, String name, String otherwise) {
    for (String arg : args) {
      if (arg.startsWith(name + "=")) {
        return arg.substring(name.length() + 1);
      }
    }
    return otherwise;
  }

  /** Starts the server. */
  public static void main(String[] args) throws IOException {
    File file = new File(argument(args, "file", "none"));
    Milter<String> milter =
        Milter.perClient(() -> "")
            .requires(ActionFlag.CHANGE_BODY)
            .on(Event.Mail.class, (event, state) -> begun(event.sender()))
            .on(Event.Header.class, (event, state) -> Step.next(state))
            .watch(Event.Body.class, (event, state) -> watched(state))
            .on(
                Event.EndOfMessage.class,
                (event, state, connection) -> decided(state, connection, file))
            .build();
    EngineOptions.Builder engine = EngineOptions.builder().progressInterval(Duration.ofMinutes(5));
    engine.maximumUnfinishedBytes(
        Long.parseLong(argument(args, "unfinished", String.valueOf(64 * MIB))));
    engine.negotiationTimeout(
        Duration.ofMillis(Long.parseLong(argument(args, "negotiation", "30000"))));
    MilterServer.Builder builder = MilterServer.builder(milter).listenOn("inet:0@127.0.0.1");
    String socket = argument(args, "socket", "");
    if (!socket.isEmpty()) {
      builder.listenOn("unix:" + socket);
    }
    MilterServer server =
        builder
            .transport(
                TransportOptions.builder()
                    .name("small")
                    .maxConnections(6000)
                    .maxBlockedWait(
                        Duration.ofMillis(Long.parseLong(argument(args, "blockedWait", "20000"))))
                    .blockGrace(Duration.ofMillis(Long.parseLong(argument(args, "grace", "1"))))
                    .build())
            .engine(engine.build())
            .stopTimeout(Duration.ZERO)
            .listener(
                new ServerListener() {
                  @Override
                  public void troubled(String what) {
                    TROUBLES.incrementAndGet();
                  }
                })
            .start();
    System.out.println(server.port());
    obey(server);
    System.exit(0);
  }

  private static void obey(MilterServer server) throws IOException {
    BufferedReader in =
        new BufferedReader(new InputStreamReader(System.in, StandardCharsets.US_ASCII));
    for (String command; (command = in.readLine()) != null; ) {
      System.out.println(
          switch (command) {
            case "used" -> usedHeap();
            case "peak" -> peakHeap();
            case "produced" -> PRODUCED.get();
            case "connections" -> server.connections();
            case "limits" -> server.counters().limitsExceeded();
            case "troubles" -> TROUBLES.get();
            case "waiting" -> WAITING.get();
            case "floods" -> FLOODS.get();
            case "release" -> release();
            case "clock" -> System.currentTimeMillis();
            default -> -1;
          });
    }
  }

  private static long usedHeap() {
    for (int i = 0; i < 3; i++) {
      System.gc();
    }
    return ManagementFactory.getMemoryMXBean().getHeapMemoryUsage().getUsed();
  }

  private static long peakHeap() {
    long sum = 0;
    for (MemoryPoolMXBean pool : ManagementFactory.getMemoryPoolMXBeans()) {
      if (pool.getType() == MemoryType.HEAP) {
        sum += pool.getPeakUsage().getUsed();
      }
    }
    return sum;
  }

  private static long release() {
    gate.countDown();
    gate = new CountDownLatch(1);
    return 0;
  }

  private static Step<String> begun(String sender) {
    Step<String> next = Step.next(sender);
    return sender.equals("<refused>") ? next.respond(Action.reject()) : next;
  }

  private static Step<String> watched(String sender) {
    if (sender.equals("<hoard-watching>")) {
      hoardAll();
    }
    return Step.next(sender);
  }

  private static Step<String> decided(String sender, MilterConnection connection, File file)
      throws InterruptedException {
    Step<String> next = Step.next(sender);
    return switch (sender) {
      case "<stream>" -> next.respond(body(new Generated(LARGE)), Action.accept());
      case "<file>" -> next.respond(body(file), Action.accept());
      case "<bytes>" -> next.respond(body(new byte[70 * MIB]), Action.accept());
      case "<text>" -> next.respond(body("x".repeat(70 * MIB)), Action.accept());
      case "<too-many-bytes>" -> next.respond(body(new byte[150 * MIB]), Action.accept());
      case "<hoard>" -> {
        hoardAll();
        yield next;
      }
      case "<wait>" -> {
        WAITING.incrementAndGet();
        gate.await();
        WAITING.decrementAndGet();
        yield next.respond(Action.accept());
      }
      case "<flood>" -> {
        for (int i = 0; i < FLOOD; i++) {
          connection.progress();
        }
        FLOODS.incrementAndGet();
        yield next.respond(Action.accept());
      }
      default -> next.respond(Action.accept());
    };
  }

  private static Action body(Object body) {
    return Action.changeBody(body);
  }

  /** Takes all memory there is, and leaves it to the collector when there is no more. */
  private static void hoardAll() {
    List<byte[]> taken = new ArrayList<>();
    hoard = taken;
    try {
      while (true) {
        taken.add(new byte[MIB / 4]);
      }
    } finally {
      hoard = null;
    }
  }
}
