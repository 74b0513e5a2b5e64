package temse.client;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import clojure.lang.IPersistentMap;
import clojure.lang.Keyword;
import clojure.lang.PersistentVector;
import java.io.IOException;
import java.net.SocketTimeoutException;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;
import temse.protocol.ActionFlag;
import temse.protocol.Actions;
import temse.protocol.EventCodec;
import temse.protocol.EventType;
import temse.protocol.Keys;
import temse.protocol.Offer;
import temse.protocol.Request;
import temse.server.EngineOptions;
import temse.server.MilterConnection;
import temse.server.MilterFactory;
import temse.server.MilterHandler;
import temse.server.ServerListener;

/** The MTA's side against the real engine, without a socket. */
class EngineWireTest {
  private static final Mail MAIL =
      Mail.parse(
          "<a@example.org>",
          List.of("<b@example.com>"),
          "Subject: hi\n\ntext\n".getBytes(StandardCharsets.US_ASCII));

  /** What the handler of a test does with an event. */
  private interface Handler {
    List<IPersistentMap> answer(EventType type, IPersistentMap event, MilterConnection connection);
  }

  private static MilterFactory milter(Request request, Handler handler) {
    return opened ->
        new MilterHandler() {
          @Override
          public Request request(MilterConnection connection, IPersistentMap offer) {
            return request;
          }

          @Override
          public List<IPersistentMap> onEvent(
              MilterConnection connection, EventType type, IPersistentMap event) {
            return handler.answer(type, event, connection);
          }
        };
  }

  private static MtaSession session(MilterFactory milter, MtaOptions options) throws IOException {
    return session(milter, options, Duration.ofMillis(20));
  }

  private static MtaSession session(
      MilterFactory milter, MtaOptions options, Duration handlerTimeout) throws IOException {
    return MtaClient.inProcess(
        milter,
        EngineOptions.builder()
            .handlerTimeout(handlerTimeout)
            .progressInterval(Duration.ofMillis(5))
            .build(),
        ServerListener.SILENT,
        options);
  }

  private static Object verdict(IPersistentMap report) {
    return report.valAt(Keyword.intern("verdict"));
  }

  @ParameterizedTest
  @ValueSource(ints = {2, 3, 4, 6})
  void severalMessagesAreDeliveredToTheRealEngine(int version) throws IOException {
    List<String> heard = new ArrayList<>();
    MilterFactory milter =
        milter(
            Request.builder()
                .events(EventType.HEADER, EventType.BODY, EventType.END_OF_MESSAGE)
                .actions(ActionFlag.ADD_HEADER, ActionFlag.CHANGE_BODY)
                .build(),
            (type, event, connection) -> {
              heard.add(type.name());
              return type == EventType.END_OF_MESSAGE
                  ? List.of(
                      Actions.addHeader("X", "y"), Actions.changeBody("new\r\n"), Actions.accept())
                  : null;
            });
    int protocol = version == 2 ? 0x7F : version < 6 ? 0x37F : 0x1FFFFF;
    for (MtaOptions options : List.of(MtaOptions.POSTFIX, MtaOptions.SENDMAIL)) {
      heard.clear();
      try (MtaSession mta =
          session(milter, options.withOffer(new Offer(version, 0x1FF, protocol)))) {
        for (int i = 0; i < 3; i++) {
          IPersistentMap report = mta.deliver(MAIL);
          assertEquals(Keyword.intern("accept"), verdict(report));
          assertEquals(2, ((List<?>) report.valAt(Keyword.intern("modifications"))).size());
        }
      }
      assertEquals(9, heard.size(), heard.toString());
    }
  }

  @Test
  void valuesThatComeLaterAndProgressAreWaitedFor() throws IOException {
    CompletableFuture<List<IPersistentMap>> value = new CompletableFuture<>();
    MilterFactory milter =
        milter(
            Request.builder().events(EventType.END_OF_MESSAGE).build(),
            (type, event, connection) -> {
              connection.awaitMaps(value, actions -> actions, () -> {});
              Thread work = new Thread(() -> value.complete(List.of(Actions.reject())));
              work.start();
              return null;
            });
    try (MtaSession mta = session(milter, MtaOptions.POSTFIX, Duration.ofSeconds(30))) {
      assertEquals(Keyword.intern("reject"), verdict(mta.deliver(MAIL)));
    }
  }

  @Test
  void whatFollowsAValueThatNeverComesIsServedAfterItsTime() throws IOException {
    MilterFactory milter =
        milter(
            Request.builder()
                .events(EventType.HEADER, EventType.END_OF_MESSAGE)
                .noReplyEvents(List.of(EventType.HEADER))
                .build(),
            (type, event, connection) -> {
              if (type == EventType.HEADER) {
                connection.await(new CompletableFuture<>(), value -> List.of());
              }
              return null;
            });
    try (MtaSession mta = session(milter, MtaOptions.POSTFIX.withTimeout(Duration.ofSeconds(5)))) {
      assertEquals(Keyword.intern("temporary-failure"), verdict(mta.deliver(MAIL)));
    }
  }

  @Test
  void theMtaDoesNotWaitForEver() throws IOException {
    MilterFactory milter =
        milter(
            Request.builder().events(EventType.END_OF_MESSAGE).build(),
            (type, event, connection) -> {
              connection.await(new CompletableFuture<>(), value -> List.of());
              return null;
            });
    MtaSession mta =
        MtaClient.inProcess(
            milter,
            EngineOptions.DEFAULTS,
            ServerListener.SILENT,
            MtaOptions.POSTFIX.withTimeout(Duration.ofMillis(20)));

    assertThrows(SocketTimeoutException.class, () -> mta.deliver(MAIL));
  }

  @Test
  void aMilterThatRefusesTheOfferCannotBeTalkedTo() {
    MilterFactory milter =
        milter(
            Request.builder().actions(ActionFlag.QUARANTINE).build(),
            (type, event, connection) -> null);

    assertThrows(
        IOException.class,
        () -> session(milter, MtaOptions.POSTFIX.withOffer(new Offer(6, 0x01, 0x1FFFFF))));
  }

  @Test
  void macrosOfAllStagesReachAHandlerOfTheEndOfMessageAlone() throws IOException {
    List<String> seen = new ArrayList<>();
    MilterFactory milter =
        milter(
            Request.builder().events(EventType.END_OF_MESSAGE).build(),
            (type, event, connection) -> {
              for (String name : List.of("j", "i", "mail_addr", "rcpt_addr", "auth_authen")) {
                seen.add(connection.macros().get(name));
              }
              return null;
            });
    for (MtaOptions options : List.of(MtaOptions.POSTFIX, MtaOptions.SENDMAIL)) {
      seen.clear();
      try (MtaSession mta = session(milter, options.withMacros(Map.of("auth_authen", "ann")))) {
        mta.deliver(MAIL);
      }
      assertEquals(
          List.of("mx.example.com", "4TEMSE0001", "a@example.org", "b@example.com", "ann"), seen);
    }
  }

  @Test
  void aClosedSessionEndsTheMessageAndTheClientOfTheMilter() throws IOException {
    List<String> heard = new ArrayList<>();
    MilterFactory milter =
        milter(
            Request.builder()
                .events(EventType.MAIL, EventType.MESSAGE_END, EventType.DISCONNECT)
                .build(),
            (type, event, connection) -> {
              Object reason = event.valAt(Keys.REASON);
              heard.add(type + (reason == null ? "" : " " + reason));
              return null;
            });
    for (boolean politely : List.of(true, false)) {
      heard.clear();
      MtaSession mta = session(milter, MtaOptions.SENDMAIL);
      mta.send(
          EventCodec.event(
              EventType.MAIL,
              Keys.SENDER,
              "<a@example.org>",
              Keys.OPTIONS,
              PersistentVector.EMPTY));
      if (politely) {
        mta.close();
      } else {
        mta.drop();
      }
      assertEquals(
          politely
              ? List.of("MAIL", "MESSAGE_END :aborted", "DISCONNECT :quit")
              : List.of("MAIL", "MESSAGE_END :lost", "DISCONNECT :connection-lost"),
          heard);
    }
  }
}
