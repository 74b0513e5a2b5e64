package temse.junit;

import clojure.java.api.Clojure;
import clojure.lang.IFn;
import clojure.lang.IPersistentMap;
import clojure.lang.Keyword;
import clojure.lang.PersistentArrayMap;
import clojure.lang.PersistentVector;
import java.io.IOException;
import java.util.Collection;
import java.util.List;
import java.util.Map;
import java.util.Queue;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.junit.jupiter.api.extension.AfterAllCallback;
import org.junit.jupiter.api.extension.AfterEachCallback;
import org.junit.jupiter.api.extension.BeforeAllCallback;
import org.junit.jupiter.api.extension.BeforeEachCallback;
import org.junit.jupiter.api.extension.ExtensionContext;
import org.junit.jupiter.api.extension.ParameterContext;
import org.junit.jupiter.api.extension.ParameterResolutionException;
import org.junit.jupiter.api.extension.ParameterResolver;
import org.junit.jupiter.api.extension.TestExecutionExceptionHandler;
import org.opentest4j.AssertionFailedError;
import org.opentest4j.TestAbortedException;
import temse.client.MtaClient;
import temse.client.MtaOptions;
import temse.client.MtaSession;
import temse.protocol.EventType;
import temse.protocol.Keys;
import temse.protocol.MilterException;
import temse.server.ConnectionInfo;
import temse.server.EngineOptions;
import temse.server.MilterFactory;
import temse.server.MilterServer;
import temse.server.ServerListener;
import temse.transport.Endpoint;

/**
 * Owns the life of a milter and the MTA's side in the tests of a class. A test that has an {@link
 * MtaSession} among its parameters gets a new connection, which is closed after the test.
 *
 * <pre>{@code
 * @RegisterExtension
 * static final MilterExtension milter = MilterExtension.of(HeaderCount.milter());
 *
 * @Test
 * void countsHeaders(MtaSession mta) throws IOException {
 *   MessageReport report =
 *       mta.sendMessage("<a@example.org>", List.of("<b@example.com>"), "Subject: hi\n\nhello\n");
 *   assertEquals(List.of(Action.addHeader("X-Header-Count", "1")), report.modifications());
 * }
 * }</pre>
 *
 * <p>No port is used, unless {@link #withServer} asks for a server. What handlers have thrown in a
 * test that fails is in the message of the failure, and the exceptions and the conversation are
 * suppressed exceptions of it.
 */
public final class MilterExtension
    implements BeforeAllCallback,
        BeforeEachCallback,
        AfterEachCallback,
        AfterAllCallback,
        ParameterResolver,
        TestExecutionExceptionHandler {
  private final MilterFactory milter;
  private final EngineOptions engine;
  private final MtaOptions mta;
  private final boolean served;
  private final Listener listener = new Listener();
  private final Map<String, Queue<MtaSession>> sessions = new ConcurrentHashMap<>();
  private MilterServer server;
  private String owner;

  private MilterExtension(
      MilterFactory milter, EngineOptions engine, MtaOptions mta, boolean served) {
    this.milter = milter;
    this.engine = engine;
    this.mta = mta;
    this.served = served;
  }

  /** Returns an extension for a milter written in Java, to which a current Postfix talks. */
  public static MilterExtension of(MilterFactory milter) {
    return new MilterExtension(milter, EngineOptions.DEFAULTS, MtaOptions.POSTFIX, false);
  }

  /**
   * Returns an extension for a filter written in Clojure.
   *
   * <pre>{@code
   * MilterExtension.of((Map<?, ?>) Clojure.var("my.filter", "options").deref())
   * }</pre>
   *
   * @param filter options as {@code temse.milter/start-milter} takes them, or a map of handlers
   */
  public static MilterExtension of(Map<?, ?> filter) {
    Object options = function("temse.impl.options", "of-filter").invoke(filter);
    Object checked = function("temse.impl.options", "check").invoke(options);
    return of((MilterFactory) function("temse.milter", "factory").invoke(options))
        .withEngine((EngineOptions) function("temse.impl.options", "engine").invoke(checked));
  }

  /** Returns the extension with another MTA: its habits, its offer, its macros, its faults. */
  public MilterExtension withMta(MtaOptions options) {
    return new MilterExtension(milter, engine, options, served);
  }

  /** Returns the extension with other default replies and time limits. */
  public MilterExtension withEngine(EngineOptions options) {
    return new MilterExtension(milter, options, mta, served);
  }

  /** Returns the extension with a real server, on a free port of 127.0.0.1. */
  public MilterExtension withServer() {
    return new MilterExtension(milter, engine, mta, true);
  }

  /**
   * Returns where the server listens.
   *
   * @throws IllegalStateException if there is none, or no test is running
   */
  public Endpoint endpoint() {
    if (server == null) {
      throw new IllegalStateException("there is a server after withServer(), while tests run");
    }
    return server.endpoint();
  }

  /** Returns a connection to the milter, for the caller to close. */
  public MtaSession connect() throws IOException {
    return connect(mta);
  }

  /** Returns a connection of another MTA to the milter, for the caller to close. */
  public MtaSession connect(MtaOptions options) throws IOException {
    return served
        ? MtaClient.connect(endpoint(), options)
        : MtaClient.inProcess(milter, engine, listener, options);
  }

  /** Starts the server for the tests of the class. */
  @Override
  public void beforeAll(ExtensionContext context) {
    start(context);
  }

  /** Starts the server for one test, if the extension is not a static field. */
  @Override
  public void beforeEach(ExtensionContext context) {
    listener.forget();
    start(context);
  }

  /** Closes the connections of the test. */
  @Override
  public void afterEach(ExtensionContext context) throws IOException {
    close(context);
  }

  /** Stops the server. */
  @Override
  public void afterAll(ExtensionContext context) throws IOException {
    close(context);
  }

  private void start(ExtensionContext context) {
    if (served && server == null) {
      server =
          MilterServer.builder(milter)
              .listenOn("inet:0@127.0.0.1")
              .engine(engine)
              .listener(listener)
              .start();
      owner = context.getUniqueId();
    }
  }

  private void close(ExtensionContext context) throws IOException {
    Queue<MtaSession> opened = sessions.remove(context.getUniqueId());
    if (opened != null) {
      for (MtaSession session : opened) {
        session.close();
      }
    }
    if (server != null && context.getUniqueId().equals(owner)) {
      server.close();
      server = null;
    }
  }

  /** Returns true for a parameter of type {@link MtaSession}. */
  @Override
  public boolean supportsParameter(ParameterContext parameter, ExtensionContext context) {
    return parameter.getParameter().getType() == MtaSession.class;
  }

  /** Returns a new connection, which is closed after the test. */
  @Override
  public MtaSession resolveParameter(ParameterContext parameter, ExtensionContext context) {
    try {
      MtaSession session = connect();
      sessions
          .computeIfAbsent(context.getUniqueId(), test -> new ConcurrentLinkedQueue<>())
          .add(session);
      return session;
    } catch (IOException e) {
      throw new ParameterResolutionException(
          explained("the MTA could not connect to the milter", listener.errors), e);
    }
  }

  /** Adds to a failure what handlers have thrown and what was said. */
  @Override
  public void handleTestExecutionException(ExtensionContext context, Throwable failure)
      throws Throwable {
    List<IPersistentMap> errors = List.copyOf(listener.errors);
    Throwable explained =
        errors.isEmpty() || failure instanceof TestAbortedException
            ? failure
            : explained(failure, errors);
    listener.failures.forEach(explained::addSuppressed);
    if (!listener.conversation.isEmpty()) {
      explained.addSuppressed(new Said(ladder(List.copyOf(listener.conversation), errors)));
    }
    throw explained;
  }

  /** Returns the failure as one whose message also says what went wrong in handlers. */
  private static Throwable explained(Throwable failure, List<IPersistentMap> errors) {
    String message = explained(failure.getMessage(), errors);
    AssertionFailedError explained =
        failure instanceof AssertionFailedError compared && compared.isExpectedDefined()
            ? new AssertionFailedError(
                message, compared.getExpected(), compared.getActual(), failure.getCause())
            : new AssertionFailedError(
                message, failure instanceof AssertionError ? failure.getCause() : failure);
    explained.setStackTrace(failure.getStackTrace());
    for (Throwable suppressed : failure.getSuppressed()) {
      explained.addSuppressed(suppressed);
    }
    return explained;
  }

  private static String explained(String message, Collection<IPersistentMap> errors) {
    return Stream.concat(
            Stream.of(String.valueOf(message)),
            errors.stream().flatMap(error -> lines("error-lines", error)))
        .collect(Collectors.joining("\n"));
  }

  private static String ladder(List<IPersistentMap> exchanges, List<IPersistentMap> errors) {
    IPersistentMap result =
        PersistentArrayMap.EMPTY
            .assoc(Keyword.intern("conversation"), PersistentVector.create((Iterable<?>) exchanges))
            .assoc(Keyword.intern("errors"), PersistentVector.create((Iterable<?>) errors));
    return lines("ladder", result).collect(Collectors.joining("\n"));
  }

  private static Stream<String> lines(String name, IPersistentMap of) {
    return ((List<?>) function("temse.report", name).invoke(of)).stream().map(String.class::cast);
  }

  private static IFn function(String namespace, String name) {
    Clojure.var("clojure.core", "require").invoke(Clojure.read(namespace));
    return Clojure.var(namespace, name);
  }

  /** Carries a conversation into the output of a failure. */
  private static final class Said extends Exception {
    private static final long serialVersionUID = 1L;

    Said(String ladder) {
      super("the conversation was\n" + ladder, null, false, false);
    }

    @Override
    public String toString() {
      return getMessage();
    }
  }

  /** Keeps what was said and what went wrong since the test began. */
  private static final class Listener implements ServerListener {
    private final Queue<IPersistentMap> conversation = new ConcurrentLinkedQueue<>();
    private final Queue<Throwable> failures = new ConcurrentLinkedQueue<>();
    private final Queue<IPersistentMap> errors = new ConcurrentLinkedQueue<>();

    void forget() {
      conversation.clear();
      failures.clear();
      errors.clear();
    }

    @Override
    public boolean wantsExchanges() {
      return true;
    }

    @Override
    public void exchanged(
        ConnectionInfo connection,
        IPersistentMap event,
        List<IPersistentMap> response,
        long nanos) {
      conversation.add(
          new PersistentArrayMap(
              new Object[] {
                Keys.EVENT,
                event,
                Keyword.intern("response"),
                PersistentVector.create((Iterable<?>) response),
                Keyword.intern("nanos"),
                nanos
              }));
    }

    @Override
    public void failed(
        ConnectionInfo connection, EventType type, IPersistentMap event, Throwable error) {
      add(type, error);
    }

    @Override
    public void violated(ConnectionInfo connection, MilterException error) {
      add(EventType.OPTIONS, error);
    }

    private void add(EventType type, Throwable error) {
      failures.add(error);
      IPersistentMap failure =
          (IPersistentMap) function("temse.impl.failure", "of").invoke(type.keyword, error, null);
      errors.add(failure.assoc(Keyword.intern("exchange"), (long) conversation.size()));
    }
  }
}
