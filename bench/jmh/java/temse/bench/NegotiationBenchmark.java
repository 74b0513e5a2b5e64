package temse.bench;

import java.util.EnumSet;
import java.util.concurrent.TimeUnit;
import org.openjdk.jmh.annotations.Benchmark;
import org.openjdk.jmh.annotations.Scope;
import org.openjdk.jmh.annotations.State;
import org.openjdk.jmh.annotations.Warmup;
import temse.protocol.ActionFlag;
import temse.protocol.EventType;
import temse.protocol.Negotiation;
import temse.protocol.Offer;
import temse.protocol.Packet;
import temse.protocol.Request;

/** The rules of the negotiation, without a connection. */
@State(Scope.Thread)
@Warmup(iterations = 2, time = 300, timeUnit = TimeUnit.MILLISECONDS)
public class NegotiationBenchmark {
  private final Request request =
      Request.builder()
          .events(EnumSet.range(EventType.CONNECT, EventType.END_OF_MESSAGE))
          .actions(ActionFlag.ADD_HEADER)
          .build();

  /** Finds what holds between a current MTA and a filter of all events, and the answer to it. */
  @Benchmark
  public Packet agree() {
    return Negotiation.agree(Offer.CURRENT, request).packet();
  }
}
