package app;

import clojure.lang.IPersistentMap;
import clojure.lang.Keyword;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.util.List;
import temse.client.Mail;
import temse.client.MtaClient;
import temse.client.MtaOptions;
import temse.client.MtaSession;
import temse.protocol.ActionFlag;
import temse.protocol.Actions;
import temse.protocol.EventType;
import temse.protocol.Keys;
import temse.server.Milter;
import temse.server.MilterServer;
import temse.server.ServerOptions;
import temse.server.Step;
import temse.transport.Endpoint;

/**
 * Serves a mail over TCP and prints the header field that was added and where temse is; with an
 * argument, also the action as a map.
 */
final class Main {
  private Main() {}

  public static void main(String[] args) throws IOException {
    Milter<Integer> milter =
        Milter.startingWith(() -> 0)
            .requires(ActionFlag.ADD_HEADER)
            .watch(EventType.HEADER, (event, count) -> Step.next(count + 1))
            .on(
                EventType.END_OF_MESSAGE,
                (event, count) ->
                    Step.next(count).respond(Actions.addHeader("X-Count", "" + count)))
            .build();
    byte[] text = "Subject: hi\nX-A: 1\n\nhello\n".getBytes(StandardCharsets.UTF_8);
    try (MilterServer server =
            MilterServer.start(milter, ServerOptions.at(Endpoint.parse("inet:0@127.0.0.1")));
        MtaSession mta = MtaClient.connect(server.endpoint(), MtaOptions.POSTFIX)) {
      IPersistentMap report =
          mta.deliver(Mail.parse("<a@example.org>", List.of("<b@example.com>"), text));
      List<?> modifications = (List<?>) report.valAt(Keyword.intern("modifications"));
      IPersistentMap added = (IPersistentMap) modifications.get(0);
      System.out.println(
          added.valAt(Keys.NAME)
              + ": "
              + added.valAt(Keys.VALUE)
              + " from "
              + (MilterServer.class.getModule().isNamed() ? "a module" : "the class path"));
      if (args.length > 0) {
        System.out.println(added);
      }
    }
  }
}
