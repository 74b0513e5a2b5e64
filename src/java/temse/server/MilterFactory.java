package temse.server;

/** Makes the handler of each MTA connection. */
@FunctionalInterface
public interface MilterFactory {
  /** Returns the handler of a connection that has begun to negotiate. */
  MilterHandler open(ConnectionInfo connection) throws Exception;
}
