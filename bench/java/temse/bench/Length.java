package temse.bench;

/**
 * How long a run is measured: for so many messages and at least one on each connection, and until
 * the server has used so much CPU time or so much time has passed.
 */
record Length(int messages, double cpuSeconds, double seconds) {
  /** So many times the time is waited for the messages. */
  static final int PATIENCE = 4;
}
