package temse.client;

import java.io.IOException;
import temse.server.EngineOptions;
import temse.server.MilterFactory;
import temse.server.ServerListener;
import temse.transport.Endpoint;

/** Opens the MTA's side of a milter connection. */
public final class MtaClient {
  private MtaClient() {}

  /**
   * Connects to a milter as a current Postfix would, and negotiates.
   *
   * @param endpoint where the milter listens
   * @return the session, after the negotiation
   * @throws IOException if it cannot be reached, or closes instead of answering the offer
   */
  public static MtaSession connect(Endpoint endpoint) throws IOException {
    return connect(endpoint, MtaOptions.POSTFIX);
  }

  /**
   * Connects to a milter and negotiates.
   *
   * @param endpoint where the milter listens
   * @param options which MTA it is, and its faults
   * @return the session, after the negotiation
   * @throws IOException if it cannot be reached, or closes instead of answering the offer
   */
  public static MtaSession connect(Endpoint endpoint, MtaOptions options) throws IOException {
    return session(new SocketWire(endpoint.address(), options.timeouts()), options);
  }

  /**
   * Talks to a milter of this process without a socket: real packets, the real engine, the caller's
   * thread.
   *
   * @param factory the milter
   * @param engineOptions how it is served
   * @param listener receives reports of the engine
   * @param options which MTA it is, and its faults
   * @return the session, after the negotiation
   * @throws IOException if the milter closes instead of answering the offer
   */
  public static MtaSession inProcess(
      MilterFactory factory,
      EngineOptions engineOptions,
      ServerListener listener,
      MtaOptions options)
      throws IOException {
    return session(new EngineWire(factory, engineOptions, listener), options);
  }

  private static MtaSession session(Wire wire, MtaOptions options) throws IOException {
    return new MtaSession(FaultyWire.of(wire, options.faults()), options);
  }
}
