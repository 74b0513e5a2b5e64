import temse.compose.Filter;
import temse.protocol.Action;
import temse.protocol.ActionFlag;
import temse.protocol.Event;
import temse.protocol.Fact;
import temse.server.Milter;
import temse.server.MilterServer;
import temse.server.Step;

/**
 * Two filters behind one connection to the MTA: the first refuses senders of example.net unless
 * they have logged in, the second says in a header field who has.
 *
 * <p>It listens where its argument says, by default at inet:20025@127.0.0.1, until it is told to
 * stop (SIGTERM, Ctrl-C).
 */
final class FilterInSequence {
  private FilterInSequence() {}

  static Milter<Integer> senders() {
    return Milter.perMessage(() -> 0)
        .on(
            Event.Mail.class,
            (mail, state) ->
                mail.sender().endsWith("@example.net>")
                    ? Step.next(state)
                        .respond(
                            Action.replyCode(550, "5.7.1", "Not from example.net")
                                .because("domain"))
                    : Step.next(state))
        .build();
  }

  static Milter<Integer> marks() {
    return Milter.perMessage(() -> 0)
        .requires(ActionFlag.ADD_HEADER)
        .wants(Fact.AUTHENTICATED_USER, Fact.SENDER)
        .on(
            Event.EndOfMessage.class,
            (end, state, connection) -> {
              String user = connection.transaction().authenticatedUser().orElse("nobody");
              String sender = connection.transaction().sender().orElse("<>");
              return Step.next(state).respond(Action.addHeader("X-Login", user + " as " + sender));
            })
        .build();
  }

  static Filter filter() {
    return Filter.inSequence(
        Filter.of(senders()).named("senders").whenMessage(origin -> !origin.isAuthenticated()),
        Filter.of(marks()).named("marks"));
  }

  public static void main(String[] args) throws InterruptedException {
    MilterServer server =
        MilterServer.builder(filter())
            .listenOn(args.length == 0 ? "inet:20025@127.0.0.1" : args[0])
            .start();
    Runtime.getRuntime().addShutdownHook(new Thread(server::close));
    System.out.println("FilterInSequence listens on " + server.endpoint());
    server.join();
  }
}
