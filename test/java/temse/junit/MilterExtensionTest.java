package temse.junit;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNotSame;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.platform.engine.discovery.DiscoverySelectors.selectClass;

import clojure.java.api.Clojure;
import java.io.File;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CyclicBarrier;
import java.util.concurrent.TimeUnit;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.Nested;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.RegisterExtension;
import org.junit.jupiter.api.parallel.Execution;
import org.junit.jupiter.api.parallel.ExecutionMode;
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
    assertTrue(message.contains("java.lang.Exception: no state"), message);
  }

  private static List<Throwable> failures(Class<?> tests) {
    return failures(tests, Map.of());
  }

  private static List<Throwable> failures(Class<?> tests, Map<String, String> configuration) {
    List<Throwable> failures = Collections.synchronizedList(new ArrayList<>());
    LauncherDiscoveryRequest request =
        LauncherDiscoveryRequestBuilder.request()
            .selectors(selectClass(tests))
            .configurationParameters(configuration)
            .build();
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
            .contains("the handler of mail threw java.lang.IllegalStateException: no luck"),
        failure.getMessage());
    assertEquals(ActionType.ACCEPT, ((AssertionFailedError) failure).getExpected().getValue());
    assertEquals("no luck", failure.getSuppressed()[0].getMessage());
    String said = failure.getSuppressed()[1].toString();
    assertTrue(said.startsWith("the conversation was\n  MTA  --> options version=6 "), said);
    assertTrue(
        said.contains(
            "  MTA  --> mail sender=<a@example.org> options=[]\n       <-- temporary-failure"),
        said);
    assertThrows(IllegalStateException.class, Failing.BROKEN::endpoint);
  }

  private static Milter<Integer> broken(String problem) {
    return Milter.perMessage(() -> 0)
        .on(
            Event.Mail.class,
            (mail, state) -> {
              throw new IllegalStateException(problem + " " + mail.sender());
            })
        .build();
  }

  /**
   * Tests that do not look at the verdict; run by {@link #aFailureOfAHandlerFailsTheTest} alone.
   */
  static class NotLooking {
    @RegisterExtension static final MilterExtension BROKEN = MilterExtension.of(broken("no luck"));

    @RegisterExtension
    static final MilterExtension SERVED =
        MilterExtension.of(broken("no server")).named("served").withServer();

    @Test
    void sends(MtaSession mta) throws IOException {
      send(mta);
    }

    @Test
    void sendsToAServer(@ConnectedTo("served") MtaSession mta) throws IOException {
      send(mta);
    }

    @Test
    void expectsIt(MtaSession mta) throws IOException {
      send(mta);
      assertEquals("no luck <a@example.org>", BROKEN.takeFailures().get(0).getMessage());
      assertEquals(List.of(), BROKEN.takeFailures());
    }
  }

  @Test
  void aFailureOfAHandlerFailsTheTestUnlessItIsTaken() {
    List<String> messages =
        failures(NotLooking.class).stream().map(Throwable::getMessage).sorted().toList();
    assertEquals(2, messages.size(), messages.toString());
    assertTrue(messages.get(0).contains("no luck <a@example.org>"), messages.get(0));
    assertTrue(messages.get(1).contains("no server <a@example.org>"), messages.get(1));
    assertTrue(messages.get(0).startsWith("a handler has failed"), messages.get(0));
  }

  /** Two filters in one class. */
  @Nested
  class Several {
    @RegisterExtension
    final MilterExtension second =
        MilterExtension.of(
                Milter.perMessage(() -> 0)
                    .on(
                        Event.Mail.class,
                        (mail, state) -> Step.next(state).respond(Action.discard()))
                    .build())
            .named("second");

    @Test
    void eachHasConnectionsOfItsOwn(MtaSession first, @ConnectedTo("second") MtaSession other)
        throws IOException {
      assertEquals(ActionType.ACCEPT, send(first).verdict());
      assertEquals(ActionType.DISCARD, send(other).verdict());
    }
  }

  /** Tests that meet while they run; run by {@link #testsInParallelDoNotMix} alone. */
  @Execution(ExecutionMode.CONCURRENT)
  static class Parallel {
    static final CyclicBarrier MET = new CyclicBarrier(2);

    @RegisterExtension
    static final MilterExtension BROKEN = MilterExtension.of(broken("no luck")).withServer();

    private static void meet(String sender) throws Exception {
      MET.await(30, TimeUnit.SECONDS);
      try (MtaSession mta = BROKEN.connect()) {
        mta.sendMessage(sender, RECIPIENTS, "Subject: hi\n\nhello\n");
      }
      MET.await(30, TimeUnit.SECONDS);
      List<String> thrown = BROKEN.takeFailures().stream().map(Throwable::getMessage).toList();
      assertEquals(List.of("no luck " + sender), thrown);
      MET.await(30, TimeUnit.SECONDS);
    }

    @Test
    void one() throws Exception {
      meet("<one@example.org>");
    }

    @Test
    void another() throws Exception {
      meet("<another@example.org>");
    }
  }

  @Test
  void testsInParallelDoNotMix() {
    assertEquals(
        List.of(),
        failures(
            Parallel.class,
            Map.of(
                "junit.jupiter.execution.parallel.enabled", "true",
                "junit.jupiter.execution.parallel.config.strategy", "fixed",
                "junit.jupiter.execution.parallel.config.fixed.parallelism", "2")));
  }

  @Test
  void aFailureIsExplainedWhereClojureCannotBeLoaded() throws Exception {
    String classPath =
        Stream.of(System.getProperty("java.class.path").split(File.pathSeparator))
            .filter(jar -> !jar.contains("spec.alpha"))
            .collect(Collectors.joining(File.pathSeparator));
    Process process =
        new ProcessBuilder(
                Path.of(System.getProperty("java.home"), "bin", "java").toString(),
                "-cp",
                classPath,
                WithoutClojure.class.getName())
            .redirectErrorStream(true)
            .start();
    process.getOutputStream().close();
    String output = new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
    assertEquals(0, process.waitFor(), output);
    assertTrue(output.contains("the handler of mail threw"), output);
    assertTrue(output.contains("the conversation was"), output);
    assertFalse(output.contains("NoClassDefFoundError"), output);
  }

  /** Runs a test that fails, in a process of its own. */
  static final class WithoutClojure {
    private WithoutClojure() {}

    public static void main(String[] args) {
      failures(Failing.class).forEach(Throwable::printStackTrace);
    }
  }
}
