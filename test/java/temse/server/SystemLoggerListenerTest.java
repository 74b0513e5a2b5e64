package temse.server;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertSame;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.lang.System.Logger;
import java.text.MessageFormat;
import java.util.ArrayList;
import java.util.List;
import java.util.ResourceBundle;
import org.junit.jupiter.api.Test;
import temse.protocol.EventCodec;
import temse.protocol.EventType;
import temse.protocol.Keys;
import temse.protocol.MilterException;

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
  void aFailedHandlerIsAnErrorWithItsExceptionAndWithoutTheBody() {
    IllegalStateException error = new IllegalStateException("broken");
    listener.failed(
        connection,
        EventType.BODY,
        EventCodec.event(EventType.BODY, Keys.DATA, "secret".getBytes()),
        error);
    assertEquals(List.of("ERROR " + who() + " handler failed at body :data 6 bytes"), logger.lines);
    assertSame(error, logger.thrown.get(0));
  }

  @Test
  void exchangesAreNotAskedFor() {
    assertEquals(false, listener.wantsExchanges());
  }

  private String who() {
    return "connection " + connection.id() + " of " + connection.peer();
  }

  /** Keeps what is logged. */
  private static final class Recorder implements Logger {
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
