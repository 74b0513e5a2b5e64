package temse.server.internal;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertSame;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.lang.System.Logger;
import java.lang.reflect.Proxy;
import java.text.MessageFormat;
import java.util.ArrayList;
import java.util.List;
import java.util.ResourceBundle;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.logging.Handler;
import java.util.logging.LogRecord;
import org.junit.jupiter.api.Test;
import temse.protocol.Action;
import temse.protocol.Actions;
import temse.protocol.Event;
import temse.protocol.EventCodec;
import temse.protocol.EventType;
import temse.protocol.Keys;
import temse.protocol.MessageEndReason;
import temse.protocol.MilterException;
import temse.protocol.Missing;
import temse.server.ConnectionInfo;
import temse.server.OutdatedConnection;
import temse.server.ServerListener;
import temse.server.SystemLoggerListener;

/** What plain Java programs find in their log. */
class SystemLoggerListenerTest {
  private static final MilterException BROKEN =
      new MilterException(MilterException.Category.UNEXPECTED_EVENT, "body before mail");

  private final Recorder logger = new Recorder();
  private final ServerListener listener = new SystemLoggerListener(logger);
  private final ScriptedHandler handler = ScriptedHandler.hearingAll();
  private final ConnectionInfo connection = connection();

  private ConnectionInfo connection() {
    DrivenEngine mta = DrivenEngine.negotiated(handler);
    assertTrue(mta.reports().isEmpty());
    return mta.engine.connection();
  }

  @Test
  void theLifeOfAConnectionIsForDebugging() {
    listener.negotiated(connection);
    listener.closed(connection, null);
    assertEquals(
        List.of("DEBUG " + who() + " negotiated", "DEBUG " + who() + " closed"), logger.lines);
  }

  @Test
  void aVerdictSaysWhy() {
    listener.verdict(
        connection,
        EventType.MAIL,
        (Action.Reply) Action.of(Actions.reject().assoc(Keys.WHY, "no record")),
        MessageEndReason.REJECTED);
    assertTrue(logger.lines.get(0).endsWith("reject (no record)"), logger.lines.toString());
  }

  @Test
  void aLostConnectionIsAnInformation() {
    listener.closed(connection, new IOException("Connection reset"));
    listener.closed(
        connection,
        new MilterException(MilterException.Category.CONNECTION_LOST, "end inside a packet"));
    assertEquals(
        List.of(
            "INFO " + who() + " closed: Connection reset",
            "INFO " + who() + " closed: end inside a packet"),
        logger.lines);
  }

  @Test
  void brokenProtocolIsAWarningAndToldOnce() {
    listener.violated(connection, BROKEN);
    listener.closed(connection, BROKEN);
    assertEquals(
        List.of(
            "WARNING "
                + who()
                + " closed after a protocol error (UNEXPECTED_EVENT): "
                + "body before mail",
            "DEBUG " + who() + " closed"),
        logger.lines);
  }

  @Test
  void aRefusedConnectionIsAWarning() {
    listener.refused("inet:40110@192.0.2.1", "too many connections");
    assertEquals(
        List.of("WARNING connection of inet:40110@192.0.2.1 refused: too many connections"),
        logger.lines);
  }

  @Test
  void aConnectionThatKeepsItsMilterIsAWarningWithTheReason() {
    listener.outdated(
        new OutdatedConnection(7, "inet:1@192.0.2.1", Missing.event(EventType.BODY), null));
    listener.outdated(
        new OutdatedConnection(8, "inet:2@192.0.2.1", Missing.NOTHING, new IOException("no")));
    assertEquals(
        List.of(
            "WARNING connection 7 of inet:1@192.0.2.1 keeps its milter: it lacks events body",
            "WARNING connection 8 of inet:2@192.0.2.1 keeps its milter: the new one has failed"),
        logger.lines);
  }

  @Test
  void aFailedHandlerIsAnErrorWithItsExceptionAndWithoutTheBody() {
    IllegalStateException error = new IllegalStateException("broken");
    listener.failed(connection, EventType.BODY, new Event.Body("secret".getBytes()), error);
    assertEquals(List.of("ERROR " + who() + " handler failed at body data=6 bytes"), logger.lines);
    assertSame(error, logger.thrown.get(0));
  }

  @Test
  void exchangesAreNotAskedFor() {
    assertEquals(false, listener.wantsExchanges());
  }

  @Test
  void withoutALoggerItWritesToTheOneNamedTemse() {
    java.util.logging.Logger temse = java.util.logging.Logger.getLogger("temse");
    List<String> written = new ArrayList<>();
    Handler handler =
        new Handler() {
          @Override
          public void publish(LogRecord record) {
            written.add(record.getLevel() + " " + record.getMessage());
          }

          @Override
          public void flush() {}

          @Override
          public void close() {}
        };
    temse.addHandler(handler);
    try {
      new SystemLoggerListener().refused("inet:1@192.0.2.1", "it's {0}");
    } finally {
      temse.removeHandler(handler);
    }
    assertEquals(List.of("WARNING connection of inet:1@192.0.2.1 refused: it's {0}"), written);
  }

  @Test
  void whatAMailSaysCannotForgeALineOrSteerATerminal() {
    String hostile = "\u001b]0;x\u0007\r\n2026 ERROR\u202e{0}'" + "y".repeat(100_000);
    Event event = new Event.Header("X", hostile, 1);
    listener.negotiated(named(hostile));
    listener.closed(connection, new IOException(hostile));
    listener.verdict(
        connection,
        EventType.MAIL,
        (Action.Reply) Action.of(Actions.reject().assoc(Keys.WHY, hostile)),
        MessageEndReason.LOST);
    listener.violated(
        connection, new MilterException(MilterException.Category.UNEXPECTED_EVENT, hostile));
    listener.failed(connection, EventType.HEADER, event, null);
    listener.refused(hostile, hostile);
    assertEquals(6, logger.lines.size());
    for (String line : logger.lines) {
      assertTrue(line.length() <= 4010, line);
      assertTrue(line.contains("\\u001b]0;x\\u0007\\r\\n2026 ERROR\\u202e"), line);
      assertTrue(line.chars().noneMatch(Character::isISOControl), line);
    }
  }

  @Test
  void nothingMissingOrBrokenMakesAMethodThrow() {
    ConnectionInfo broken = named(null);
    Exception nasty =
        new IOException() {
          @Override
          public String getMessage() {
            throw new StackOverflowError();
          }
        };
    for (ConnectionInfo each : new ConnectionInfo[] {null, broken, connection}) {
      listener.negotiated(each);
      listener.closed(each, null);
      listener.closed(each, nasty);
      listener.verdict(each, null, null, null);
      listener.verdict(each, EventType.MAIL, Action.reject(), MessageEndReason.LOST);
      listener.violated(each, null);
      listener.failed(each, null, null, null);
      listener.failed(each, null, new Event.Data(), nasty);
      listener.failed(
          each,
          EventType.MAIL,
          Event.view(
              EventType.MAIL,
              EventCodec.event(EventType.MAIL, Keys.SENDER, nasty, Keys.OPTIONS, null)),
          nasty);
      listener.refused(null, null);
      listener.outdated(null);
      listener.exchanged(each, null, null, -1);
    }
    assertEquals(3 * 11, logger.lines.size());
  }

  @Test
  void aLoggerThatThrowsDisturbsNobody() {
    ServerListener unlucky =
        new SystemLoggerListener(
            new Recorder() {
              @Override
              public boolean isLoggable(Level level) {
                throw new OutOfMemoryError("for this test");
              }
            });
    unlucky.negotiated(connection);
    unlucky.closed(connection, null);
    unlucky.verdict(connection, null, null, null);
    unlucky.violated(connection, BROKEN);
    unlucky.failed(connection, EventType.MAIL, null, BROKEN);
    unlucky.refused("", "");
  }

  @Test
  void noTextIsMadeForALevelThatIsOff() {
    ServerListener quiet =
        new SystemLoggerListener(
            new Recorder() {
              @Override
              public boolean isLoggable(Level level) {
                return false;
              }
            });
    AtomicInteger asked = new AtomicInteger();
    ConnectionInfo counting =
        (ConnectionInfo)
            Proxy.newProxyInstance(
                getClass().getClassLoader(),
                new Class<?>[] {ConnectionInfo.class},
                (proxy, method, arguments) -> (long) asked.incrementAndGet());
    quiet.negotiated(counting);
    quiet.verdict(counting, EventType.MAIL, null, null);
    assertEquals(0, asked.get());
  }

  /** Returns a connection that knows its peer only. */
  private static ConnectionInfo named(String peer) {
    return (ConnectionInfo)
        Proxy.newProxyInstance(
            SystemLoggerListenerTest.class.getClassLoader(),
            new Class<?>[] {ConnectionInfo.class},
            (proxy, method, arguments) ->
                switch (method.getName()) {
                  case "peer" -> peer;
                  case "id" -> 7L;
                  default -> null;
                });
  }

  private String who() {
    return "connection " + connection.id() + " of " + connection.peer();
  }

  /** Keeps what is logged. */
  private static class Recorder implements Logger {
    private final List<String> lines = new ArrayList<>();
    private final List<Throwable> thrown = new ArrayList<>();

    @Override
    public String getName() {
      return "recorder";
    }

    @Override
    public boolean isLoggable(Level level) {
      return true;
    }

    @Override
    public void log(Level level, ResourceBundle bundle, String message, Throwable error) {
      lines.add(level + " " + message);
      thrown.add(error);
    }

    @Override
    public void log(Level level, ResourceBundle bundle, String format, Object... parameters) {
      lines.add(level + " " + MessageFormat.format(format, parameters));
    }
  }
}
