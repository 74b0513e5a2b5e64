package temse.junit;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotSame;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.platform.engine.discovery.DiscoverySelectors.selectClass;

import clojure.java.api.Clojure;
import java.io.IOException;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.Nested;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.RegisterExtension;
import org.junit.platform.engine.TestExecutionResult;
import org.junit.platform.launcher.LauncherDiscoveryRequest;
import org.junit.platform.launcher.TestExecutionListener;
import org.junit.platform.launcher.TestIdentifier;
import org.junit.platform.launcher.core.LauncherDiscoveryRequestBuilder;
import org.junit.platform.launcher.core.LauncherFactory;
import org.opentest4j.AssertionFailedError;
import org.opentest4j.TestAbortedException;
import temse.client.MessageReport;
import temse.client.MtaOptions;
import temse.client.MtaSession;
import temse.protocol.Action;
import temse.protocol.ActionFlag;
import temse.protocol.ActionType;
import temse.protocol.Event;
import temse.server.Milter;
import temse.server.Step;

/** The extension as its users have it. */
class MilterExtensionTest {
  private static final List<String> RECIPIENTS = List.of("<b@example.com>");

  private static Milter<Integer> counter() {
    return Milter.perClient(() -> 0)
        .requires(ActionFlag.ADD_HEADER)
        .on(Event.Header.class, (event, count) -> Step.next(count + 1))
        .on(
            Event.EndOfMessage.class,
            (event, count) ->
                Step.next(count).respond(Action.addHeader("X-Count", String.valueOf(count))))
        .build();
  }

  private static MessageReport send(MtaSession mta) throws IOException {
    return mta.sendMessage("<a@example.org>", RECIPIENTS, "Subject: hi\nTo: b\n\nhello\n");
  }

  @RegisterExtension static final MilterExtension MILTER = MilterExtension.of(counter());

  private static final List<MtaSession> GIVEN = new ArrayList<>();

  @AfterAll
  static void connectionsWereClosedAfterTheirTests() {
    assertEquals(3, GIVEN.size());
    assertTrue(GIVEN.stream().noneMatch(MtaSession::isOpen));
  }

  @Test
  void aTestGetsAConnection(MtaSession mta) throws IOException {
    GIVEN.add(mta);
    MessageReport report = send(mta);
    assertEquals(ActionType.ACCEPT, report.verdict());
    assertEquals(List.of(Action.addHeader("X-Count", "2")), report.modifications());
  }

  @Test
  void eachConnectionIsNew(MtaSession mta, MtaSession other) throws IOException {
    GIVEN.addAll(List.of(mta, other));
    assertNotSame(mta, other);
    assertTrue(mta.isOpen());
    assertEquals(send(mta), send(other));
    assertEquals("4", ((Action.AddHeader) send(mta).modifications().get(0)).value());
  }

  @Test
  void aConnectionIsMadeByHand() throws IOException {
    MtaOptions old = MtaOptions.SENDMAIL.withOffer(new temse.protocol.Offer(2, 0, 0));
    try (MtaSession mta = MILTER.connect(old)) {
      assertEquals(2L, mta.agreement().valAt(Clojure.read(":version")));
    }
  }

  @Test
  void withoutAServerThereIsNoEndpoint() {
    assertThrows(IllegalStateException.class, MILTER::endpoint);
  }

  /** A server for all tests of the class, and an MTA of another style. */
  @Nested
  class WithServer {
    @RegisterExtension
    final MilterExtension served =
        MilterExtension.of(counter()).withMta(MtaOptions.SENDMAIL).withServer();

    @Test
    void theServerListensOnAFreePort() throws IOException {
      assertTrue(served.endpoint().toString().matches("inet:[1-9]\\d*@127\\.0\\.0\\.1"));
      try (MtaSession mta = served.connect()) {
        assertEquals(MtaOptions.SENDMAIL, mta.options());
        assertEquals("2", ((Action.AddHeader) send(mta).modifications().get(0)).value());
      }
    }
  }

  /** A filter of Clojure. */
  @Nested
  class OfClojure {
    @RegisterExtension
    final MilterExtension clojure =
        MilterExtension.of(
            (Map<?, ?>)
                Clojure.var("clojure.core", "eval")
                    .invoke(Clojure.read("{:mail (fn [_ _] [{:action :discard}])}")));

    @Test
    void itsHandlersAreTaken() throws IOException {
      try (MtaSession mta = clojure.connect()) {
        assertEquals(ActionType.DISCARD, send(mta).verdict());
      }
    }
  }

  /** What a failing test says; run by {@link #aFailureTellsWhatWasSaidAndThrown} alone. */
  static class Failing {
    @RegisterExtension
    static final MilterExtension BROKEN =
        MilterExtension.of(
                Milter.perClient(() -> 0)
                    .on(
                        Event.Mail.class,
                        (event, state) -> {
                          throw new IllegalStateException("no luck");
                        })
                    .build())
            .withServer();

    @Test
    void expectsTooMuch(MtaSession mta) throws IOException {
      assertEquals(ActionType.ACCEPT, send(mta).verdict());
    }
  }

  /**
   * Tests that end in other ways; run by {@link #everyFailureIsExplainedAndNoAbortedTest} alone.
   */
  static class EndingOtherwise {
    @RegisterExtension static final MilterExtension BROKEN = Failing.BROKEN;

    @Test
    void throwsAnything(MtaSession mta) throws IOException {
      send(mta);
      throw new IllegalArgumentException("mine");
    }

    @Test
    void isAborted(MtaSession mta) throws IOException {
      send(mta);
      throw new TestAbortedException("not here");
    }
  }

  @Test
  void everyFailureIsExplainedAndNoAbortedTest() {
    List<String> messages =
        failures(EndingOtherwise.class).stream().map(Throwable::getMessage).sorted().toList();
    assertEquals(2, messages.size());
    assertTrue(messages.get(0).matches("(?s)mine\n.*no luck.*"), messages.get(0));
    assertEquals("not here", messages.get(1));
  }

  /** A filter that cannot begin; run by {@link #aFilterThatCannotBeginIsExplained} alone. */
  static class NeverBegun {
    @RegisterExtension
    static final MilterExtension BROKEN =
        MilterExtension.of(
            (Map<?, ?>)
                Clojure.var("clojure.core", "eval")
                    .invoke(
                        Clojure.read(
                            "{:init (fn [_] (throw (Exception. \"no state\")))"
                                + " :handlers {:mail (fn [_ _])}}")));

    @Test
    void needsAConnection(MtaSession mta) {}
  }

  @Test
  void aFilterThatCannotBeginIsExplained() {
    String message = failures(NeverBegun.class).get(0).getMessage();
    assertTrue(message.contains(":init threw java.lang.Exception: no state"), message);
  }

  private static List<Throwable> failures(Class<?> tests) {
    List<Throwable> failures = new ArrayList<>();
    LauncherDiscoveryRequest request =
        LauncherDiscoveryRequestBuilder.request().selectors(selectClass(tests)).build();
    LauncherFactory.create()
        .execute(
            request,
            new TestExecutionListener() {
              @Override
              public void executionFinished(TestIdentifier test, TestExecutionResult result) {
                result.getThrowable().ifPresent(failures::add);
              }
            });
    return failures;
  }

  @Test
  void aFailureTellsWhatWasSaidAndThrown() {
    List<Throwable> failures = failures(Failing.class);
    assertEquals(1, failures.size());
    Throwable failure = failures.get(0);
    assertTrue(failure.getMessage().contains("expected: <ACCEPT>"), failure.getMessage());
    assertTrue(
        failure
            .getMessage()
            .contains("the handler of :mail threw java.lang.IllegalStateException: no luck"),
        failure.getMessage());
    assertEquals(ActionType.ACCEPT, ((AssertionFailedError) failure).getExpected().getValue());
    assertEquals("no luck", failure.getSuppressed()[0].getMessage());
    String said = failure.getSuppressed()[1].toString();
    assertTrue(said.startsWith("the conversation was\n  MTA  --> options version 6\n"), said);
    assertTrue(
        said.contains("  MTA  --> mail <a@example.org>\n       <-- temporary-failure"), said);
    assertThrows(IllegalStateException.class, Failing.BROKEN::endpoint);
  }
}
