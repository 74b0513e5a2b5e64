package temse.junit;

import java.io.IOException;
import java.util.ArrayList;
import java.util.List;
import java.util.Queue;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.opentest4j.AssertionFailedError;
import temse.client.MtaSession;
import temse.protocol.Action;
import temse.protocol.Event;
import temse.protocol.EventCodec;
import temse.protocol.EventType;
import temse.protocol.MilterException;
import temse.server.ConnectionInfo;
import temse.server.MilterServer;
import temse.server.ServerListener;

/** What belongs to one test, or to a class: connections, a server, what was sent and thrown. */
final class Scope implements ServerListener {
  /** The most lines of a stack trace that a message of a failure has. */
  private static final int FRAMES = 3;

  final Scope outer;
  private final Queue<MtaSession> sessions = new ConcurrentLinkedQueue<>();
  private final Queue<Throwable> failures = new ConcurrentLinkedQueue<>();
  private final Queue<String> problems = new ConcurrentLinkedQueue<>();
  private final Queue<String> conversation = new ConcurrentLinkedQueue<>();
  private MilterServer server;

  Scope(Scope outer) {
    this.outer = outer;
  }

  void add(MtaSession session) {
    sessions.add(session);
  }

  /** {@return the server, which is started if there is none yet} */
  synchronized MilterServer server(MilterServer.Builder builder) {
    if (server == null) {
      server = builder.listenOn("inet:0@127.0.0.1").listener(this).start();
    }
    return server;
  }

  /** Closes the connections, and the server when all that they brought is over. */
  synchronized void close() throws IOException {
    try {
      for (MtaSession session : sessions) {
        session.close();
      }
    } finally {
      if (server != null) {
        server.close();
      }
    }
  }

  List<Throwable> takeFailures() {
    List<Throwable> taken = new ArrayList<>();
    for (Throwable failure; (failure = failures.poll()) != null; ) {
      taken.add(failure);
    }
    problems.clear();
    return taken;
  }

  /** Fails if handlers have failed, and nobody has taken their failures. */
  void requireNoFailure() {
    if (!failures.isEmpty()) {
      AssertionFailedError error =
          new AssertionFailedError(
              explained("a handler has failed; a test that expects it calls takeFailures()"));
      addSuppressed(error);
      throw error;
    }
  }

  /** {@return the failure as one whose message also says what went wrong in handlers} */
  Throwable explained(Throwable failure) {
    if (problems.isEmpty()) {
      addSuppressed(failure);
      return failure;
    }
    String message = explained(failure.getMessage());
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
    addSuppressed(explained);
    return explained;
  }

  String explained(String message) {
    return Stream.concat(Stream.of(String.valueOf(message)), problems.stream())
        .collect(Collectors.joining("\n"));
  }

  private void addSuppressed(Throwable failure) {
    failures.forEach(failure::addSuppressed);
    if (!conversation.isEmpty()) {
      failure.addSuppressed(new Said(String.join("\n", conversation)));
    }
  }

  /** Carries a conversation into the output of a failure. */
  private static final class Said extends Exception {
    private static final long serialVersionUID = 1L;

    Said(String conversation) {
      super("the conversation was\n" + conversation, null, false, false);
    }

    @Override
    public String toString() {
      return getMessage();
    }
  }

  // ---- reports

  @Override
  public boolean wantsExchanges() {
    return true;
  }

  @Override
  public void exchanged(ConnectionInfo connection, Event event, List<Action> response, long nanos) {
    conversation.add("  MTA  --> " + event);
    if (event.type() == EventType.OPTIONS) {
      conversation.add(
          "       <-- " + Event.of(EventCodec.decode(connection.agreement().packet())));
    }
    for (Action answer : response) {
      conversation.add("       <-- " + answer);
    }
  }

  @Override
  public void failed(ConnectionInfo connection, EventType type, Event event, Throwable error) {
    failures.add(error);
    problems.add("!!! the handler of " + type.keyword.getName() + " threw " + error);
    Stream.of(error.getStackTrace())
        .filter(frame -> !frame.getClassName().matches("(java|jdk|clojure|temse)\\..*"))
        .limit(FRAMES)
        .forEach(frame -> problems.add("    at " + frame));
  }

  @Override
  public void violated(ConnectionInfo connection, MilterException error) {
    problems.add("!!! the connection was closed: " + error);
  }
}
