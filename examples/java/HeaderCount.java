import temse.protocol.Action;
import temse.protocol.ActionFlag;
import temse.protocol.Event;
import temse.server.Milter;
import temse.server.MilterServer;
import temse.server.Step;
import temse.server.SystemLoggerListener;

/**
 * Adds the number of its header fields to each mail, as X-Header-Count.
 *
 * <p>It listens where its argument says, by default at inet:20025@127.0.0.1, until it is told to
 * stop (SIGTERM, Ctrl-C); mail that is in progress then is served to its end.
 *
 * <pre>
 * javac -cp temse.jar:clojure.jar -d classes examples/java/HeaderCount.java
 * java -cp temse.jar:clojure.jar:classes HeaderCount unix:/run/header-count.sock
 * </pre>
 */
final class HeaderCount {
  private HeaderCount() {}

  /** Returns the milter. Its state is the number of header fields of the mail so far. */
  static Milter<Integer> milter() {
    return Milter.perMessage(() -> 0)
        .requires(ActionFlag.ADD_HEADER)
        .watch(Event.Header.class, (header, count) -> Step.next(count + 1))
        .on(
            Event.EndOfMessage.class,
            (end, count) ->
                Step.next(count).respond(Action.addHeader("X-Header-Count", count.toString())))
        .build();
  }

  public static void main(String[] args) throws InterruptedException {
    MilterServer server =
        MilterServer.builder(milter())
            .listenOn(args.length == 0 ? "inet:20025@127.0.0.1" : args[0])
            .listener(new SystemLoggerListener(System.getLogger("header-count")))
            .start();
    Runtime.getRuntime().addShutdownHook(new Thread(server::close));
    System.out.println("HeaderCount listens on " + server.endpoint());
    server.join();
  }
}
