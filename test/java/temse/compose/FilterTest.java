package temse.compose;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import clojure.lang.IPersistentMap;
import clojure.lang.Keyword;
import java.io.IOException;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.CompletableFuture;
import java.util.logging.Handler;
import java.util.logging.LogRecord;
import java.util.logging.Logger;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;
import temse.client.Mail;
import temse.client.MessageReport;
import temse.client.MtaClient;
import temse.client.MtaOptions;
import temse.client.MtaSession;
import temse.message.Exceeded;
import temse.message.MessageFilter;
import temse.message.MessageStore;
import temse.network.Networks;
import temse.protocol.Action;
import temse.protocol.ActionFlag;
import temse.protocol.ActionType;
import temse.protocol.AddressFamily;
import temse.protocol.DisconnectReason;
import temse.protocol.Event;
import temse.protocol.EventType;
import temse.protocol.MilterException;
import temse.server.ConnectionInfo;
import temse.server.EngineOptions;
import temse.server.Milter;
import temse.server.MilterFactory;
import temse.server.MilterServer;
import temse.server.ServerListener;
import temse.server.Step;

/** Filters made of filters, as a Java team writes them. */
class FilterTest {
  private static final List<String> RECIPIENTS = List.of("<b@example.com>");
  private static final String MESSAGE = "Subject: old\nX-A: 1\n\nhello\n";

  private final List<String> seen = Collections.synchronizedList(new ArrayList<>());

  // ---- filters

  private static Milter<Integer> adds(String name) {
    return atEnd(Action.addHeader(name, "1"));
  }

  private static Milter<Integer> atEnd(Action... actions) {
    return Milter.perMessage(() -> 0)
        .requires(ActionFlag.ADD_HEADER, ActionFlag.CHANGE_HEADER, ActionFlag.CHANGE_BODY)
        .on(Event.EndOfMessage.class, (end, n) -> Step.next(n).respond(actions))
        .build();
  }

  private static Milter<Integer> atMail(Action.Reply reply) {
    return Milter.perMessage(() -> 0)
        .on(Event.Mail.class, (mail, n) -> Step.next(n).respond(reply))
        .build();
  }

  /** Notes the events that it sees, and counts them in its state. */
  private Milter<Integer> notes(String title) {
    return Milter.perClient(() -> 0)
        .on(Event.Mail.class, (mail, n) -> noted(title + " mail " + n, n))
        .on(
            Event.Header.class,
            (field, n) -> noted(title + " " + field.name() + ": " + field.value(), n))
        .on(Event.Body.class, (body, n) -> noted(title + " " + new String(body.data()).strip(), n))
        .on(Event.EndOfMessage.class, (end, n) -> noted(title + " end " + n, n))
        .on(Event.MessageEnd.class, (end, n) -> noted(title + " is " + end.reason(), n))
        .build();
  }

  private Step<Integer> noted(String line, int count) {
    seen.add(line);
    return Step.next(count + 1);
  }

  // ---- the MTA's side

  private static MtaSession connect(MilterFactory filter) throws IOException {
    return MtaClient.inProcess(
        filter, EngineOptions.DEFAULTS, ServerListener.SILENT, MtaOptions.POSTFIX);
  }

  private static MessageReport send(MtaSession mta) throws IOException {
    return mta.sendMessage("<a@example.org>", RECIPIENTS, MESSAGE);
  }

  private static MessageReport send(MilterFactory filter) throws IOException {
    return send(filter, MtaOptions.POSTFIX);
  }

  private static MessageReport send(MilterFactory filter, MtaOptions options) throws IOException {
    try (MtaSession mta =
        MtaClient.inProcess(filter, EngineOptions.DEFAULTS, ServerListener.SILENT, options)) {
      return send(mta);
    }
  }

  private static List<String> added(MessageReport report) {
    return report.modifications().stream()
        .map(action -> ((Action.AddHeader) action).name())
        .toList();
  }

  private static Filter quiet(MilterFactory filter) {
    return Filter.of(filter).listener(ServerListener.SILENT);
  }

  // ---- several

  @Test
  void filtersOfASequenceActInTheirOrder() throws IOException {
    MessageReport report = send(Filter.inSequence(adds("X-1"), adds("X-2"), adds("X-3")));
    assertEquals(List.of("X-1", "X-2", "X-3"), added(report));
    assertEquals(ActionType.ACCEPT, report.verdict());
  }

  @Test
  void theFirstRefusalWinsAndLaterFiltersDoNotSeeTheEvent() throws IOException {
    MessageReport report =
        send(
            Filter.inSequence(
                adds("X-1"),
                atMail(Action.replyCode(550, "5.7.1", "first")),
                notes("third"),
                atMail(Action.replyCode(451, "4.7.1", "fourth"))));
    assertEquals(EventType.MAIL, report.at());
    assertEquals(550, ((Action.Reply) report.reply()).smtpCode().getAsInt());
    assertEquals(List.of(), seen);
  }

  @Test
  void aRefusalOfAnEarlierFilterWinsOverAnEarlierRefusalOfALaterOne() throws IOException {
    Milter<Integer> atHeader =
        Milter.perMessage(() -> 0)
            .on(
                Event.Header.class,
                (field, n) -> Step.next(n).respond(Action.replyCode(550, "5.7.1", "later")))
            .build();
    MessageReport report =
        send(Filter.inSequence(atEnd(Action.replyCode(554, "5.7.1", "earlier")), atHeader));
    assertEquals(554, ((Action.Reply) report.reply()).smtpCode().getAsInt());
  }

  @Test
  void anAcceptEndsOnlyItsOwnFilter() throws IOException {
    assertEquals(
        List.of("X-2"), added(send(Filter.inSequence(atMail(Action.accept()), adds("X-2")))));
  }

  @Test
  void aLaterFilterSeesWhatEarlierOnesHaveChanged() throws IOException {
    send(
        Filter.inSequence(
            atEnd(
                Action.changeHeader("Subject", 1, "new"),
                Action.addHeader("X-B", "2"),
                Action.changeBody("other\n")),
            notes("later")));
    assertEquals(
        List.of(
            "later mail 0",
            "later Subject: new",
            "later X-A: 1",
            "later X-B: 2",
            "later other",
            "later end 5",
            "later is ACCEPTED"),
        seen);
  }

  @Test
  void aFilterOfWholeMessagesSeesThemAsEarlierOnesHaveLeftThem() throws IOException {
    MessageFilter size =
        MessageFilter.of(
                (message, connection) ->
                    List.of(
                        Action.addHeader(
                            "X-Seen", message.headers().size() + " " + message.body().size())))
            .requires(ActionFlag.ADD_HEADER)
            .build();
    MessageReport report =
        send(
            Filter.inSequence(
                atEnd(Action.addHeader("X-B", "2"), Action.changeBody("12345\n")), size));
    Action.AddHeader last = (Action.AddHeader) report.modifications().get(2);
    assertEquals("3 7", last.value());
  }

  @Test
  void noFilterSeesTheStateOfAnotherAndNoMessageThatOfTheOneBefore() throws IOException {
    Milter<Integer> counts =
        Milter.perMessage(() -> 0)
            .on(Event.Header.class, (field, n) -> Step.next(n + 1))
            .on(Event.EndOfMessage.class, (end, n) -> noted("fields " + n, n))
            .build();
    try (MtaSession mta = connect(Filter.inSequence(counts, counts))) {
      send(mta);
      send(mta);
    }
    assertEquals(List.of("fields 2", "fields 2", "fields 2", "fields 2"), seen);
  }

  @Test
  void aSecondClientOfAConnectionFindsFiltersThatKnowNothingOfTheFirst() throws IOException {
    try (MtaSession mta = connect(Filter.inSequence(notes("a"), adds("X")))) {
      send(mta);
      mta.send(new Event.Disconnect(DisconnectReason.NEW_CONNECTION).map());
      send(mta);
    }
    assertEquals(2, seen.stream().filter("a mail 0"::equals).count());
  }

  @ParameterizedTest
  @ValueSource(ints = {0, 1, 2})
  void aFilterThatThrowsDefersWhereverItStands(int place) throws IOException {
    Filter throwing =
        quiet(
            Milter.perMessage(() -> 0)
                .on(
                    Event.EndOfMessage.class,
                    (end, n) -> {
                      throw new AssertionError("no");
                    })
                .build());
    List<MilterFactory> filters = new ArrayList<>(List.of(adds("X-1"), adds("X-2")));
    filters.add(place, throwing);
    assertEquals(ActionType.TEMPORARY_FAILURE, send(Filter.inSequence(filters)).verdict());
  }

  @Test
  void eachFilterHasItsOwnErrorPolicy() throws IOException {
    Filter lenient =
        quiet(
            Milter.perMessage(() -> 0)
                .on(
                    Event.Mail.class,
                    (mail, n) -> {
                      throw new IllegalStateException("no");
                    })
                .onError((error, event) -> List.of(Action.proceed()))
                .build());
    assertEquals(List.of("X-2"), added(send(Filter.inSequence(lenient, adds("X-2")))));
  }

  @Test
  void aFilterMayOnlyDoWhatItHasAskedFor() throws IOException {
    Milter<Integer> unasked =
        Milter.perMessage(() -> 0)
            .on(
                Event.EndOfMessage.class,
                (end, n) -> Step.next(n).respond(Action.addHeader("X-2", "1")))
            .build();
    MessageReport report = send(Filter.inSequence(adds("X-1"), quiet(unasked)));
    assertEquals(ActionType.TEMPORARY_FAILURE, report.verdict());
  }

  @Test
  void valuesThatComeLaterAreAwaitedInTurn() throws IOException {
    CompletableFuture<Step<Integer>> value = new CompletableFuture<>();
    Milter<Integer> waits =
        Milter.perMessage(() -> 0)
            .requires(ActionFlag.ADD_HEADER)
            .on(
                Event.EndOfMessage.class,
                (end, n) -> {
                  seen.add("waits");
                  new Thread(
                          () ->
                              value.complete(
                                  Step.next(n).respond(Action.addHeader("X-Later", "1"))))
                      .start();
                  return Step.later(value);
                })
            .build();
    assertEquals(List.of("X-Later", "X-2"), added(send(Filter.inSequence(waits, adds("X-2")))));
    assertEquals(List.of("waits"), seen);
  }

  @Test
  void verdictsAndModificationsSayWhichFilterHasGivenThemAndWhy() throws IOException {
    Filter filter =
        Filter.inSequence(
            Filter.of(adds("X-1")).named("mild"),
            Filter.of(atEnd(Action.reject().because("no record"))).named("spf"),
            adds("X-3"));
    List<String> reasons = new ArrayList<>();
    ServerListener listener =
        new ServerListener() {
          @Override
          public boolean wantsExchanges() {
            return true;
          }

          @Override
          public void exchanged(
              ConnectionInfo connection, Event event, List<Action> response, long nanos) {
            response.forEach(action -> action.why().ifPresent(reasons::add));
          }
        };
    try (MtaSession mta =
        MtaClient.inProcess(filter, EngineOptions.DEFAULTS, listener, MtaOptions.POSTFIX)) {
      assertEquals(ActionType.REJECT, send(mta).verdict());
    }
    assertEquals(List.of("mild", "spf: no record"), reasons);
  }

  @Test
  void whatAHandlerThrowsIsLoggedUnderTheNameOfItsFilter() throws IOException {
    Milter<Integer> throwing =
        Milter.perMessage(() -> 0)
            .on(
                Event.Mail.class,
                (mail, n) -> {
                  throw new IllegalStateException("no luck");
                })
            .build();
    Logger logger = Logger.getLogger("temse.unlucky");
    List<String> records = new ArrayList<>();
    logger.setUseParentHandlers(false);
    logger.addHandler(
        new Handler() {
          @Override
          public void publish(LogRecord record) {
            records.add(record.getThrown().getMessage());
          }

          @Override
          public void flush() {}

          @Override
          public void close() {}
        });
    send(Filter.inSequence(adds("X-1"), Filter.of(throwing).named("unlucky")));
    assertEquals(List.of("no luck"), records);
  }

  @Test
  void filtersThatWereGroupedAreNumberedInOneRow() throws IOException {
    List<String> titles = new ArrayList<>();
    Pretence pretence = Pretence.LOGGED.reportTo(note -> titles.add(note.filter()));
    Filter inner = Filter.inSequence(adds("X-1"), Filter.of(adds("X-2")).pretend(pretence));
    send(Filter.inSequence(inner, Filter.of(adds("X-3")).pretend(pretence)));
    assertEquals(List.of("filter-2", "filter-3"), titles);
  }

  @Test
  void aSequenceNeedsAFilter() {
    MilterException error = assertThrows(MilterException.class, () -> Filter.inSequence(List.of()));
    assertEquals(MilterException.Category.BAD_OPTIONS, error.category());
  }

  @Test
  void whereTheMtaIsUnknownAndItMakesADifferenceTheMessageIsDeferred() throws IOException {
    for (int position : List.of(0, 2)) {
      Filter filter =
          Filter.inSequence(
              atEnd(Action.insertHeader(position, "X-A", "1")), notes("at " + position));
      try (MtaSession mta = connect(filter)) {
        mta.withoutMacros();
        assertEquals(
            position == 0 ? ActionType.ACCEPT : ActionType.TEMPORARY_FAILURE, send(mta).verdict());
      }
    }
  }

  // ---- what is kept

  @Test
  void aMessageThatIsTooLargeToBeKeptHasTheOutcomeThatWasChosen() throws IOException {
    assertEquals(452, codeOf(Exceeded.DEFER));
    assertEquals(552, codeOf(Exceeded.REJECT));
    assertEquals(0, codeOf(Exceeded.ACCEPT));
    assertTrue(seen.isEmpty(), "the filter that would have to wait is not there");
    MilterException error = assertThrows(MilterException.class, () -> codeOf(Exceeded.TRUNCATE));
    assertEquals(MilterException.Category.BAD_OPTIONS, error.category());
  }

  private int codeOf(Exceeded outcome) throws IOException {
    MessageStore small = MessageStore.builder().maximumMessage(5).whenExceeded(outcome).build();
    Milter<Integer> body =
        Milter.perMessage(() -> 0).on(Event.Body.class, (data, n) -> noted("body", n)).build();
    Action reply = send(Filter.inSequence(adds("X-1"), body).keepIn(small)).reply();
    return reply instanceof Action.Reply known ? known.smtpCode().orElse(0) : 0;
  }

  @Test
  void whatIsKeptIsGivenBackWhereAFilterNeverAnswersThatTheMessageIsAborted() throws IOException {
    MessageStore store = MessageStore.builder().build();
    Milter<Integer> waits =
        Milter.perMessage(() -> 0)
            .on(Event.Mail.class, (mail, n) -> noted("mail", n))
            .on(Event.Header.class, (field, n) -> noted("header", n))
            .on(
                Event.Abort.class,
                (abort, n) -> {
                  seen.add("abort");
                  return Step.later(new CompletableFuture<>());
                })
            .build();
    try (MtaSession mta =
        MtaClient.inProcess(
            Filter.inSequence(adds("X-1"), atEnd(Action.reject()), quiet(waits)).keepIn(store),
            EngineOptions.builder().handlerTimeout(Duration.ofMillis(20)).build(),
            ServerListener.SILENT,
            MtaOptions.POSTFIX)) {
      assertEquals(ActionType.REJECT, send(mta).verdict());
      assertEquals(ActionType.REJECT, send(mta).verdict());
    }
    assertEquals(List.of("mail", "abort", "mail", "abort"), seen);
    assertEquals(0, store.memoryTaken());
  }

  // ---- there or not

  @Test
  void aFilterIsThereForSomeClients() throws IOException {
    Filter filter =
        Filter.inSequence(
            Filter.of(adds("X-Foreign")).whenClient(origin -> !origin.isLocal()),
            Filter.of(adds("X-Net"))
                .whenClient(origin -> origin.isFrom(Networks.of("192.0.2.0/24"))));
    assertEquals(List.of("X-Foreign", "X-Net"), fieldsFor(filter, "192.0.2.7"));
    assertEquals(List.of("X-Foreign"), fieldsFor(filter, "198.51.100.7"));
    assertEquals(List.of(), fieldsFor(filter, "127.0.0.1"));
  }

  private static List<String> fieldsFor(Filter filter, String address) throws IOException {
    try (MtaSession mta = connect(filter)) {
      mta.greet(
          new Event.Connect("a.example", AddressFamily.INET, 4711, address).map(), "a.example");
      return added(send(mta));
    }
  }

  @Test
  void aFilterIsThereForSomeMessages() throws IOException {
    Filter filter = Filter.of(adds("X-Checked")).whenMessage(origin -> !origin.isAuthenticated());
    assertEquals(List.of("X-Checked"), added(send(filter)));
    assertEquals(
        List.of(),
        added(send(filter, MtaOptions.POSTFIX.withMacros(Map.of("{auth_authen}", "ann")))));
  }

  @Test
  void theSenderIsKnownToPredicatesOfMessages() throws IOException {
    Filter filter =
        Filter.of(adds("X")).whenMessage(origin -> origin.sender().equals(Optional.of("<>")));
    assertEquals(List.of(), added(send(filter)));
  }

  @Test
  void aPredicateThatThrowsDefers() throws IOException {
    Filter filter =
        Filter.of(adds("X"))
            .whenMessage(
                origin -> {
                  throw new IllegalStateException("no");
                });
    assertEquals(ActionType.TEMPORARY_FAILURE, send(filter).verdict());
  }

  @Test
  void conditionsOfOneFilterAllHold() throws IOException {
    for (boolean client : new boolean[] {true, false}) {
      for (boolean message : new boolean[] {true, false}) {
        Filter filter =
            Filter.of(adds("X"))
                .whenMessage(origin -> true)
                .whenClient(origin -> client)
                .whenMessage(origin -> message);
        assertEquals(client && message ? List.of("X") : List.of(), added(send(filter)));
      }
    }
  }

  // ---- pretending

  @Test
  void aPretendedFilterDoesNothingAndSaysWhatItWouldHaveDone() throws IOException {
    List<Pretended> notes = new ArrayList<>();
    Filter strict =
        Filter.of(atMail(Action.reject().because("no record")))
            .named("strict")
            .pretend(Pretence.LOGGED.reportTo(notes::add).withFields());
    MessageReport report = send(Filter.inSequence(strict, adds("X-Next")));
    assertEquals(ActionType.ACCEPT, report.verdict());
    Action.AddHeader would = (Action.AddHeader) report.modifications().get(0);
    assertEquals("X-Would-Reject", would.name());
    assertEquals("at mail by strict: no record", would.value());
    assertEquals(List.of("X-Would-Reject", "X-Next"), added(report));
    Pretended note = notes.get(0);
    assertEquals(
        List.of("strict", EventType.MAIL, "reject", "no record"),
        List.of(note.filter(), note.at(), note.verdict(), note.action().why().orElse("")));
  }

  @Test
  void aPretendedFilterAsksForNoAction() throws IOException {
    try (MtaSession mta =
        connect(Filter.of(adds("X")).pretend(Pretence.LOGGED.reportTo(note -> {})))) {
      assertEquals(0L, ((Number) mta.agreement().valAt(Keyword.intern("action-mask"))).longValue());
      assertEquals(List.of(), added(send(mta)));
    }
  }

  // ---- over the wire

  @Test
  void aSequenceServesSockets() throws IOException {
    Filter filter =
        Filter.inSequence(
            atEnd(Action.changeHeader("Subject", 1, "new")),
            Filter.of(notes("second")).named("second"),
            adds("X-3"));
    try (MilterServer server =
            MilterServer.builder(filter)
                .listenOn("inet:0@127.0.0.1")
                .listener(ServerListener.SILENT)
                .start();
        MtaSession mta = MtaClient.connect(server.endpoint())) {
      for (int n = 0; n < 2; n++) {
        IPersistentMap report =
            mta.deliver(Mail.parse("<a@example.org>", RECIPIENTS, MESSAGE.getBytes()));
        List<Action> changes = MessageReport.of(report).modifications();
        assertEquals(List.of("Subject", "X-3"), changes.stream().map(FilterTest::name).toList());
      }
    }
    assertEquals(2, seen.stream().filter("second Subject: new"::equals).count());
  }

  private static @Nullable String name(Action action) {
    return (String) action.map().valAt(Keyword.intern("name"));
  }
}
