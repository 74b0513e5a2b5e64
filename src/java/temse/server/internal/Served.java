package temse.server.internal;

import temse.server.ConnectionInfo;

/** A connection of an engine, which has something in common with all others of its server. */
public interface Served {
  /** {@return what all connections of the server share} */
  Counts counts();

  /** {@return true if the connection is over, or ends as soon as the event at hand is settled} */
  boolean isEnding();

  /**
   * {@return true if a connection is known to be ending: see {@link #isEnding}}
   *
   * @param connection of any class
   */
  static boolean isEnding(ConnectionInfo connection) {
    return connection instanceof Served served && served.isEnding();
  }
}
