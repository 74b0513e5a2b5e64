package temse.bench;

import clojure.lang.IPersistentMap;
import java.util.concurrent.TimeUnit;
import org.openjdk.jmh.annotations.Benchmark;
import org.openjdk.jmh.annotations.Param;
import org.openjdk.jmh.annotations.Scope;
import org.openjdk.jmh.annotations.State;
import org.openjdk.jmh.annotations.Warmup;
import temse.protocol.ActionCodec;
import temse.transport.internal.Output;

/** From an action map to the bytes in a write buffer. */
@State(Scope.Thread)
@Warmup(iterations = 2, time = 300, timeUnit = TimeUnit.MILLISECONDS)
public class EncodeBenchmark {
  /** Actions of a filter. */
  public enum Action {
    /** The reply to most events. */
    CONTINUE(temse.protocol.Action.proceed().map()),
    /** A header field of 15 bytes. */
    ADD_HEADER(temse.protocol.Action.addHeader("X-Seen", "12 8192").map()),
    /** A reply code with an enhanced code and 31 characters of text. */
    REPLY_TEXT(
        temse.protocol.Action.replyCode(550, "5.7.1", "No lottery today, 100% of it is").map());

    private final IPersistentMap map;

    Action(IPersistentMap map) {
      this.map = map;
    }
  }

  /** What is encoded. */
  @Param public Action action;

  private final Output output = new Output();

  /** Encodes an action. */
  @Benchmark
  public int encode() {
    output.clear();
    ActionCodec.encode(
        action.map,
        (code, bytes, offset, length) ->
            output.putInt(1 + length).putByte(code).put(bytes, offset, length));
    return output.size();
  }
}
