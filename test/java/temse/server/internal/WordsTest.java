package temse.server.internal;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.regex.Pattern;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;
import temse.client.MtaClient;
import temse.client.MtaOptions;
import temse.client.MtaSession;
import temse.protocol.Action;
import temse.protocol.ActionFlag;
import temse.protocol.Event;
import temse.protocol.EventType;
import temse.protocol.MilterException;
import temse.protocol.Offer;
import temse.server.ConnectionInfo;
import temse.server.EngineOptions;
import temse.server.Milter;
import temse.server.ServerListener;
import temse.server.Step;

/** Errors of the library name things as whoever wrote the filter does. */
class WordsTest {
  private static final Pattern KEYWORD = Pattern.compile("(?<![\\w\"]):[a-z]");

  private final List<String> messages = new ArrayList<>();

  private final ServerListener listener =
      new ServerListener() {
        @Override
        public void failed(
            ConnectionInfo connection, EventType type, Event event, Throwable error) {
          messages.add(error.getMessage());
        }

        @Override
        public void violated(ConnectionInfo connection, MilterException error) {
          messages.add(error.getMessage());
        }
      };

  private MtaSession connect(Milter<?> milter, boolean keywords, MtaOptions mta)
      throws IOException {
    return MtaClient.inProcess(
        milter, EngineOptions.builder().keywords(keywords).build(), listener, mta);
  }

  private Milter.Builder<Integer> milter() {
    return Milter.perMessage(() -> 0)
        .onError(
            (error, event) -> {
              messages.add(error.getMessage());
              return List.of(Action.temporaryFailure());
            });
  }

  static Stream<Milter.ConnectionHandler<Event.Mail, Integer>> mistakes() {
    return Stream.of(
        (mail, state, connection) -> Step.next(state).respond(Action.addHeader("X", "y")),
        (mail, state, connection) -> {
          connection.send(Action.addHeader("X", "y"));
          return Step.next(state);
        },
        (mail, state, connection) -> {
          connection.send(Action.reject());
          return Step.next(state).respond(Action.temporaryFailure());
        },
        (mail, state, connection) -> {
          connection.await(new CompletableFuture<>(), value -> List.of());
          connection.await(new CompletableFuture<>(), value -> List.of());
          return Step.next(state);
        });
  }

  @ParameterizedTest
  @MethodSource("mistakes")
  void whatAHandlerDoesWrongIsExplainedInTheWordsOfItsLanguage(
      Milter.ConnectionHandler<Event.Mail, Integer> mistake) throws IOException {
    Milter<Integer> milter = milter().on(Event.Mail.class, mistake).build();
    for (boolean keywords : new boolean[] {false, true}) {
      messages.clear();
      try (MtaSession mta = connect(milter, keywords, MtaOptions.POSTFIX)) {
        mta.sendEvent(new Event.Mail("<a@example.org>"));
      }
      assertEquals(2, messages.size(), "the listener and the error policy: " + messages);
      for (String message : messages) {
        assertEquals(keywords, KEYWORD.matcher(message).find(), message);
      }
    }
  }

  @Test
  void anMtaThatOffersTooLittleIsExplainedInTheWordsOfTheLanguage() {
    Milter<Integer> milter =
        milter()
            .requires(ActionFlag.ADD_HEADER)
            .on(Event.Mail.class, (mail, state) -> Step.next(state))
            .build();
    MtaOptions poor = MtaOptions.POSTFIX.withOffer(new Offer(6, 0x10, 0));
    for (boolean keywords : new boolean[] {false, true}) {
      messages.clear();
      assertThrows(IOException.class, () -> connect(milter, keywords, poor));
      assertEquals(1, messages.size());
      assertEquals(keywords, messages.get(0).contains(":add-header"), messages.get(0));
      assertEquals(!keywords, messages.get(0).contains("addHeader"), messages.get(0));
    }
  }

  @Test
  void optionsAreExplainedInTheWordsOfTheLanguage() {
    EngineOptions.Builder java = EngineOptions.builder();
    EngineOptions.Builder clojure = EngineOptions.builder().keywords(true);
    assertEquals(
        "skip cannot be the default reply to endOfHeaders",
        refusal(() -> java.defaultReply(EventType.END_OF_HEADERS, Action.skip())));
    assertEquals(
        ":skip cannot be the default reply to :end-of-headers",
        refusal(() -> clojure.defaultReply(EventType.END_OF_HEADERS, Action.skip())));
  }

  @Test
  void anErrorInJavaIsTheSameButForItsWords() {
    MilterException original =
        new MilterException(
            MilterException.Category.BAD_OPTIONS,
            "the limit is :max-unfinished-bytes, ask for :leading-space?, say \":no\"",
            new IOException("cause"));
    original.addSuppressed(new IllegalStateException("suppressed"));
    MilterException inJava = original.inJava();
    assertEquals(
        "the limit is maximumUnfinishedBytes, ask for leadingSpace, say \":no\"",
        inJava.getMessage());
    assertEquals(original.category(), inJava.category());
    assertEquals(original.getData(), inJava.getData());
    assertEquals(original.getCause(), inJava.getCause());
    assertEquals(List.of(original.getSuppressed()), List.of(inJava.getSuppressed()));
    assertEquals(List.of(original.getStackTrace()), List.of(inJava.getStackTrace()));
    assertFalse(KEYWORD.matcher(inJava.getMessage()).find());
    assertTrue(inJava == inJava.inJava(), "nothing is left to translate");
  }

  private static String refusal(Runnable work) {
    return assertThrows(MilterException.class, work::run).getMessage();
  }
}
