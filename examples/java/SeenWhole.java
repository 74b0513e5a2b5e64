import java.time.Duration;
import java.util.List;
import temse.message.MessageFilter;
import temse.protocol.ActionFlag;
import temse.protocol.Actions;
import temse.protocol.EventType;
import temse.server.EngineOptions;
import temse.server.MilterServer;
import temse.server.ServerOptions;
import temse.server.SystemLoggerListener;
import temse.transport.Endpoint;
import temse.transport.TransportOptions;

/**
 * Does what SeenFilter does with a message filter, which receives each message as a whole. The
 * benchmark measures it.
 */
final class SeenWhole {
  private SeenWhole() {}

  /** Returns the filter. */
  static MessageFilter filter() {
    return MessageFilter.of(
            (message, connection) -> {
              long headers =
                  message.headers().stream().filter(field -> !field.isNamed("X-Seen")).count();
              return List.of(Actions.addHeader("X-Seen", headers + " " + message.body().size()));
            })
        .requires(ActionFlag.ADD_HEADER)
        .beside(EventType.DATA, (event, connection) -> null)
        .beside(EventType.END_OF_HEADERS, (event, connection) -> null)
        .beside(EventType.UNKNOWN, (event, connection) -> null)
        .build();
  }

  public static void main(String[] args) throws InterruptedException {
    MilterServer server =
        MilterServer.start(
            filter(),
            new ServerOptions(
                List.of(Endpoint.parse(args.length == 0 ? "inet:20025@127.0.0.1" : args[0])),
                TransportOptions.builder().maxConnections(100_000).build(),
                EngineOptions.DEFAULTS,
                Duration.ofSeconds(5)),
            new SystemLoggerListener(System.getLogger("seen")));
    Runtime.getRuntime().addShutdownHook(new Thread(server::close));
    System.out.println("SeenWhole listens on " + server.endpoint());
    server.join();
  }
}
