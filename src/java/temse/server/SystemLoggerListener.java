package temse.server;

import clojure.lang.IPersistentMap;
import clojure.lang.Keyword;
import java.io.IOException;
import java.lang.System.Logger;
import java.lang.System.Logger.Level;
import temse.protocol.ActionCodec;
import temse.protocol.Event;
import temse.protocol.EventType;
import temse.protocol.MilterException;

/**
 * Writes what happens in a server to a {@link System.Logger}: negotiations and ends as DEBUG, lost
 * connections as INFO, broken protocol and refused connections as WARNING, failed handlers as ERROR
 * with their exception. The body of a mail is never written.
 *
 * <pre>{@code
 * MilterServer.start(
 *     milter, options, new SystemLoggerListener(System.getLogger("spam-filter")));
 * }</pre>
 */
public final class SystemLoggerListener implements ServerListener {
  private final Logger logger;

  /** Makes a listener that writes to the logger. */
  public SystemLoggerListener(Logger logger) {
    this.logger = logger;
  }

  @Override
  public void negotiated(ConnectionInfo connection) {
    logger.log(Level.DEBUG, () -> who(connection) + " negotiated");
  }

  @Override
  public void closed(ConnectionInfo connection, Throwable error) {
    if (isLoss(error)) {
      logger.log(Level.INFO, () -> who(connection) + " closed: " + error.getMessage());
    } else {
      logger.log(Level.DEBUG, () -> who(connection) + " closed");
    }
  }

  @Override
  public void verdict(
      ConnectionInfo connection, EventType event, IPersistentMap reply, Keyword ended) {
    logger.log(
        Level.DEBUG,
        () ->
            who(connection)
                + (ended == null ? "" : " message " + ended.getName())
                + (event == null ? "" : " at " + event.keyword.getName())
                + (reply == null ? "" : ": " + ActionCodec.type(reply).keyword.getName()));
  }

  @Override
  public void violated(ConnectionInfo connection, MilterException error) {
    logger.log(
        Level.WARNING,
        () ->
            who(connection)
                + " closed after a protocol error ("
                + error.category()
                + "): "
                + error.getMessage());
  }

  @Override
  public void failed(
      ConnectionInfo connection, EventType type, IPersistentMap event, Throwable error) {
    logger.log(Level.ERROR, () -> who(connection) + " handler failed at " + Event.of(event), error);
  }

  @Override
  public void refused(String peer, String why) {
    logger.log(Level.WARNING, () -> "connection of " + peer + " refused: " + why);
  }

  /** What else ends a connection is told by {@link #violated} or {@link #failed}. */
  private static boolean isLoss(Throwable error) {
    return error instanceof IOException
        || error instanceof MilterException known
            && known.category() == MilterException.Category.CONNECTION_LOST;
  }

  private static String who(ConnectionInfo connection) {
    return "connection " + connection.id() + " of " + connection.peer();
  }
}
