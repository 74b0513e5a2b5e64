package app;

import java.io.IOException;
import java.util.List;
import temse.client.MessageReport;
import temse.client.MtaClient;
import temse.client.MtaOptions;
import temse.client.MtaSession;
import temse.protocol.Action;
import temse.protocol.ActionFlag;
import temse.protocol.Event;
import temse.server.Milter;
import temse.server.MilterServer;
import temse.server.Step;

/**
 * Serves a mail over TCP and prints the header field that was added and where temse is; with an
 * argument, also the action as a map.
 */
final class Main {
  private Main() {}

  public static void main(String[] args) throws IOException {
    Milter<Integer> milter =
        Milter.perMessage(() -> 0)
            .requires(ActionFlag.ADD_HEADER)
            .watch(Event.Header.class, (header, count) -> Step.next(count + 1))
            .on(
                Event.EndOfMessage.class,
                (end, count) -> Step.next(count).respond(Action.addHeader("X-Count", "" + count)))
            .build();
    try (MilterServer server = MilterServer.builder(milter).listenOn("inet:0@127.0.0.1").start();
        MtaSession mta = MtaClient.connect(server.endpoint(), MtaOptions.POSTFIX)) {
      MessageReport report =
          mta.sendMessage(
              "<a@example.org>", List.of("<b@example.com>"), "Subject: hi\nX-A: 1\n\nhello\n");
      Action.AddHeader added = (Action.AddHeader) report.modifications().get(0);
      System.out.println(
          added.name()
              + ": "
              + added.value()
              + " from "
              + (MilterServer.class.getModule().isNamed() ? "a module" : "the class path"));
      if (args.length > 0) {
        System.out.println(added.map());
      }
    }
  }
}
