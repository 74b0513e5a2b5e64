import temse.protocol.ActionFlag;
import temse.protocol.Actions;
import temse.protocol.EventType;
import temse.server.Milter;
import temse.server.MilterServer;
import temse.server.ServerOptions;
import temse.server.Step;
import temse.server.SystemLoggerListener;
import temse.transport.Endpoint;

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
    return Milter.startingWith(() -> 0)
        .requires(ActionFlag.ADD_HEADER)
        .watch(EventType.HEADER, (event, count) -> Step.next(count + 1))
        .on(
            EventType.END_OF_MESSAGE,
            (event, count) ->
                Step.next(count).respond(Actions.addHeader("X-Header-Count", count.toString())))
        .on(EventType.MESSAGE_END, (event, count) -> Step.next(0))
        .build();
  }

  public static void main(String[] args) throws InterruptedException {
    Endpoint endpoint = Endpoint.parse(args.length == 0 ? "inet:20025@127.0.0.1" : args[0]);
    MilterServer server =
        MilterServer.start(
            milter(),
            ServerOptions.at(endpoint),
            new SystemLoggerListener(System.getLogger("header-count")));
    Runtime.getRuntime().addShutdownHook(new Thread(server::close));
    System.out.println("HeaderCount listens on " + server.endpoint());
    server.join();
  }
}
