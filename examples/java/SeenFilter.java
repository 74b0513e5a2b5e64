import java.util.List;
import temse.protocol.Action;
import temse.protocol.ActionFlag;
import temse.protocol.Event;
import temse.server.Milter;
import temse.server.MilterServer;
import temse.server.Step;
import temse.server.SystemLoggerListener;
import temse.transport.TransportOptions;

/**
 * Receives every event, counts the header fields and the bytes of the body, and adds {@code X-Seen:
 * HEADERS BYTES}, two decimal numbers. The benchmark measures it.
 *
 * <pre>
 * javac -cp temse.jar:clojure.jar -d classes examples/java/SeenFilter.java
 * java -XX:+UseSerialGC -Xmn16m -cp temse.jar:clojure.jar:classes SeenFilter \
 *   inet:20025@127.0.0.1
 * </pre>
 */
final class SeenFilter {
  private record Seen(long headers, long bytes) {
    static final Seen NOTHING = new Seen(0, 0);
  }

  private SeenFilter() {}

  /** Returns the milter. Its state is what was seen of the mail so far. */
  static Milter<Seen> milter() {
    Milter.Builder<Seen> milter =
        Milter.perMessage(() -> Seen.NOTHING)
            .requires(ActionFlag.ADD_HEADER)
            .on(
                Event.Header.class,
                (event, seen) ->
                    event.name().equalsIgnoreCase("X-Seen")
                        ? Step.next(seen)
                        : Step.next(new Seen(seen.headers() + 1, seen.bytes())))
            .on(
                Event.Body.class,
                (event, seen) ->
                    Step.next(new Seen(seen.headers(), seen.bytes() + event.data().length)))
            .on(
                Event.EndOfMessage.class,
                (event, seen) ->
                    Step.next(seen)
                        .respond(Action.addHeader("X-Seen", seen.headers() + " " + seen.bytes())));
    for (Class<? extends Event> type :
        List.of(
            Event.Connect.class,
            Event.Hello.class,
            Event.Mail.class,
            Event.Recipient.class,
            Event.Data.class,
            Event.Unknown.class,
            Event.EndOfHeaders.class)) {
      milter.on(type, (event, seen) -> Step.next(seen));
    }
    return milter.build();
  }

  public static void main(String[] args) throws InterruptedException {
    MilterServer server =
        MilterServer.builder(milter())
            .listenOn(args.length == 0 ? "inet:20025@127.0.0.1" : args[0])
            .transport(TransportOptions.builder().maxConnections(100_000).build())
            .listener(new SystemLoggerListener(System.getLogger("seen")))
            .start();
    Runtime.getRuntime().addShutdownHook(new Thread(server::close));
    System.out.println("SeenFilter listens on " + server.endpoint());
    server.join();
  }
}
