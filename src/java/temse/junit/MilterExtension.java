package temse.junit;

import clojure.java.api.Clojure;
import clojure.lang.IFn;
import java.io.IOException;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import org.junit.jupiter.api.extension.AfterAllCallback;
import org.junit.jupiter.api.extension.AfterEachCallback;
import org.junit.jupiter.api.extension.BeforeAllCallback;
import org.junit.jupiter.api.extension.BeforeEachCallback;
import org.junit.jupiter.api.extension.ExtensionContext;
import org.junit.jupiter.api.extension.ParameterContext;
import org.junit.jupiter.api.extension.ParameterResolutionException;
import org.junit.jupiter.api.extension.ParameterResolver;
import org.junit.jupiter.api.extension.TestExecutionExceptionHandler;
import org.opentest4j.TestAbortedException;
import temse.client.MtaClient;
import temse.client.MtaOptions;
import temse.client.MtaSession;
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
 * <p>No port is used, unless {@link #withServer} asks for a server. A test in which a handler fails
 * has failed, unless it takes the failure: {@link #takeFailures}. What handlers have thrown is in
 * the message of the failure, and the exceptions and the conversation are suppressed exceptions of
 * it.
 *
 * <p>Tests may run in parallel: each has connections, a server and failures of its own. Of several
 * extensions in a class all but one are {@link #named}.
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
  private final String name;
  private final Map<String, Scope> scopes = new ConcurrentHashMap<>();
  private final ThreadLocal<Scope> current = new InheritableThreadLocal<>();

  private MilterExtension(
      MilterFactory milter, EngineOptions engine, MtaOptions mta, boolean served, String name) {
    this.milter = milter;
    this.engine = engine;
    this.mta = mta;
    this.served = served;
    this.name = name;
  }

  /**
   * {@return an extension for a milter written in Java, to which a current Postfix talks}
   *
   * @param milter such as a {@link temse.server.Milter}
   */
  public static MilterExtension of(MilterFactory milter) {
    return new MilterExtension(milter, EngineOptions.DEFAULTS, MtaOptions.POSTFIX, false, "");
  }

  /**
   * {@return an extension for a filter written in Clojure}
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

  /**
   * {@return the extension with another MTA: its habits, its offer, its macros, its faults}
   *
   * @param options as {@link MtaClient} takes them
   */
  public MilterExtension withMta(MtaOptions options) {
    return new MilterExtension(milter, engine, options, served, name);
  }

  /**
   * {@return the extension with other default replies and time limits}
   *
   * @param options as {@link MilterServer.Builder#engine} takes them
   */
  public MilterExtension withEngine(EngineOptions options) {
    return new MilterExtension(milter, options, mta, served, name);
  }

  /** {@return the extension with a real server for each test, on a free port of 127.0.0.1} */
  public MilterExtension withServer() {
    return new MilterExtension(milter, engine, mta, true, name);
  }

  /**
   * {@return the extension with a name: parameters annotated with it get its connections}
   *
   * <pre>
   * {@literal @}Test void both(MtaSession first, {@literal @}ConnectedTo("second") MtaSession second)
   * </pre>
   *
   * @param other unique in the test class
   */
  public MilterExtension named(String other) {
    return new MilterExtension(milter, engine, mta, served, other);
  }

  /**
   * {@return where the server of the test listens; before all tests that of the class}
   *
   * @throws IllegalStateException if there is none, or no test is running
   */
  public Endpoint endpoint() {
    Scope scope = current.get();
    if (!served || scope == null) {
      throw new IllegalStateException("there is a server after withServer(), while tests run");
    }
    return scope.server(MilterServer.builder(milter).engine(engine)).endpoint();
  }

  /**
   * {@return a connection to the milter, which is closed after the test at the latest}
   *
   * @throws IOException if the milter closes the connection instead of negotiating
   */
  public MtaSession connect() throws IOException {
    return connect(mta);
  }

  /**
   * {@return a connection of another MTA to the milter, closed after the test at the latest}
   *
   * @param options which MTA it is
   * @throws IOException if the milter closes the connection instead of negotiating
   */
  public MtaSession connect(MtaOptions options) throws IOException {
    Scope scope = current.get();
    ServerListener listener = scope == null ? ServerListener.SILENT : scope;
    MtaSession session =
        served
            ? MtaClient.connect(endpoint(), options)
            : MtaClient.inProcess(milter, engine, listener, options);
    if (scope != null) {
      scope.add(session);
    }
    return session;
  }

  /**
   * {@return what handlers have thrown in the test so far, in order} It does not fail the test
   * then.
   *
   * <pre>{@code
   * assertEquals("no database", milter.takeFailures().get(0).getMessage());
   * }</pre>
   *
   * @throws IllegalStateException if no test is running
   */
  public List<Throwable> takeFailures() {
    Scope scope = current.get();
    if (scope == null) {
      throw new IllegalStateException("there are failures while tests run");
    }
    return scope.takeFailures();
  }

  /** Begins what belongs to the class. */
  @Override
  public void beforeAll(ExtensionContext context) {
    begin(context);
  }

  /** Begins what belongs to the test. */
  @Override
  public void beforeEach(ExtensionContext context) {
    begin(context);
  }

  private void begin(ExtensionContext context) {
    Scope scope = new Scope(current.get());
    scopes.put(context.getUniqueId(), scope);
    current.set(scope);
  }

  /** Closes what belongs to the test, and fails it if a handler has failed. */
  @Override
  public void afterEach(ExtensionContext context) throws IOException {
    end(context);
  }

  /** Closes what belongs to the class, and fails it if a handler has failed outside of tests. */
  @Override
  public void afterAll(ExtensionContext context) throws IOException {
    end(context);
  }

  private void end(ExtensionContext context) throws IOException {
    Scope scope = scopes.remove(context.getUniqueId());
    if (scope == null) {
      return;
    }
    current.set(scope.outer);
    scope.close();
    if (context.getExecutionException().isEmpty()) {
      scope.requireNoFailure();
    }
  }

  /** {@return true for a parameter of type {@link MtaSession} that is meant for this extension} */
  @Override
  public boolean supportsParameter(ParameterContext parameter, ExtensionContext context) {
    return parameter.getParameter().getType() == MtaSession.class
        && parameter
            .findAnnotation(ConnectedTo.class)
            .map(ConnectedTo::value)
            .orElse("")
            .equals(name);
  }

  /** {@return a new connection, which is closed after the test} */
  @Override
  public MtaSession resolveParameter(ParameterContext parameter, ExtensionContext context) {
    try {
      return connect();
    } catch (IOException e) {
      String problem = "the MTA could not connect to the milter";
      Scope scope = current.get();
      throw new ParameterResolutionException(scope == null ? problem : scope.explained(problem), e);
    }
  }

  /** Adds to a failure what handlers have thrown and what was sent. */
  @Override
  public void handleTestExecutionException(ExtensionContext context, Throwable failure)
      throws Throwable {
    Scope scope = scopes.get(context.getUniqueId());
    throw scope == null || failure instanceof TestAbortedException
        ? failure
        : scope.explained(failure);
  }

  private static IFn function(String namespace, String name) {
    Clojure.var("clojure.core", "require").invoke(Clojure.read(namespace));
    return Clojure.var(namespace, name);
  }
}
