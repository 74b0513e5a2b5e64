package temse.bench;

import java.util.concurrent.TimeUnit;
import org.openjdk.jmh.annotations.Benchmark;
import org.openjdk.jmh.annotations.Param;
import org.openjdk.jmh.annotations.Scope;
import org.openjdk.jmh.annotations.State;
import org.openjdk.jmh.annotations.Warmup;
import temse.protocol.ActionCodec;
import temse.protocol.Output;

/** From an action to the bytes in a write buffer. */
@State(Scope.Thread)
@Warmup(iterations = 2, time = 300, timeUnit = TimeUnit.MILLISECONDS)
public class EncodeBenchmark {
  /** Actions of a filter. */
  public enum Action {
    /** The reply to most events. */
    CONTINUE(temse.protocol.Action.proceed()),
    /** A header field of 15 bytes. */
    ADD_HEADER(temse.protocol.Action.addHeader("X-Seen", "12 8192")),
    /** A reply code with an enhanced code and 31 characters of text. */
    REPLY_TEXT(temse.protocol.Action.replyCode(550, "5.7.1", "No lottery today, 100% of it is"));

    private final temse.protocol.Action view;

    Action(temse.protocol.Action view) {
      this.view = view;
    }
  }

  /** What is encoded. */
  @Param public Action action;

  private final Output output = new Output();

  /** Encodes an action. */
  @Benchmark
  public int encode() {
    output.clear();
    ActionCodec.encode(action.view.type(), action.view.map(), ActionCodec.MAXIMUM_PAYLOAD, output);
    return output.size();
  }
}
