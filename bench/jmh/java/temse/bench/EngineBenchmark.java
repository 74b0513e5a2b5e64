package temse.bench;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.util.Arrays;
import java.util.List;
import java.util.concurrent.TimeUnit;
import org.openjdk.jmh.annotations.Benchmark;
import org.openjdk.jmh.annotations.OperationsPerInvocation;
import org.openjdk.jmh.annotations.Param;
import org.openjdk.jmh.annotations.Scope;
import org.openjdk.jmh.annotations.Setup;
import org.openjdk.jmh.annotations.State;
import org.openjdk.jmh.annotations.Warmup;
import temse.server.EngineOptions;
import temse.server.MilterFactory;
import temse.server.ServerListener;
import temse.server.internal.ConnectionEngine;
import temse.transport.internal.Conversation.End;
import temse.transport.internal.Conversation.Wish;

/**
 * A connection from the bytes that come to the bytes that answer them, with the filter's handlers
 * between, without a socket.
 */
@State(Scope.Thread)
@Warmup(iterations = 5, time = 500, timeUnit = TimeUnit.MILLISECONDS)
public class EngineBenchmark {
  private static final int SUBJECT = 6;
  private static final int HEADERS = 100;

  /** The filter that handles the events. */
  @Param public Filter filter;

  private final MemoryLink link = new MemoryLink();
  private final ByteBuffer offer = ByteBuffer.wrap(Script.OFFER);
  private MilterFactory factory;
  private ServerListener listener;
  private Script script;
  private ConnectionEngine connected;
  private List<ByteBuffer> envelope;
  private ByteBuffer subject;

  /** Checks the answers to a whole mail, and leaves a second connection after one. */
  @Setup
  public void open() throws IOException, ReflectiveOperationException {
    factory = filter.factory();
    listener = filter.listener();
    link.say(connection(), offer, Wish.READ);
    script = new Script(Workload.W1, link.answer());
    connected = connection();
    for (Script.Step step : script.first(0)) {
      link.say(connected, step.bytes(), Wish.READ);
      if (!Arrays.equals(step.answer(), link.answer())) {
        throw new IllegalStateException("wrong answer to " + step.stage());
      }
    }
    envelope =
        Arrays.stream(script.next(0))
            .filter(step -> step.stage().compareTo(Stage.HEADER) < 0)
            .map(Script.Step::bytes)
            .toList();
    subject =
        Arrays.stream(script.next(0))
            .filter(step -> step.stage() == Stage.HEADER)
            .toList()
            .get(SUBJECT)
            .bytes();
  }

  private ConnectionEngine connection() {
    return new ConnectionEngine(factory, EngineOptions.DEFAULTS, listener, link, 1);
  }

  /** A connection is made and answers an offer. */
  @Benchmark
  public int negotiate() {
    return link.say(connection(), offer, Wish.READ);
  }

  /**
   * A macro packet of the queue ID and a header packet, {@code Subject} with a value of 55 bytes,
   * are answered with continue: one of a hundred in a mail, with a hundredth of its envelope.
   */
  @Benchmark
  @OperationsPerInvocation(HEADERS)
  public int header() {
    for (ByteBuffer step : envelope) {
      link.say(connected, step, Wish.READ);
    }
    int answered = 0;
    for (int i = 0; i < HEADERS; i++) {
      answered += link.say(connected, subject, Wish.READ);
    }
    return answered;
  }

  /** A connection of W1: one mail of 2 recipients, 12 header fields and 8 KiB of body. */
  @Benchmark
  @Warmup(iterations = 12, time = 500, timeUnit = TimeUnit.MILLISECONDS)
  public int mail() {
    ConnectionEngine connection = connection();
    int answered = 0;
    for (Script.Step step : script.first(0)) {
      answered += link.say(connection, step.bytes(), Wish.READ);
    }
    answered += link.say(connection, script.goodbye, Wish.CLOSE);
    connection.ended(End.CLOSED_HERE, null);
    return answered;
  }
}
