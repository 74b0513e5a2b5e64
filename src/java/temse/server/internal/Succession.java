package temse.server.internal;

import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.Objects;
import java.util.Optional;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import temse.protocol.Agreement;
import temse.protocol.Missing;
import temse.protocol.Negotiation;
import temse.protocol.Request;
import temse.server.OutdatedConnection;

/**
 * The service of a server, which may be followed by another one, and the connections that may still
 * have an earlier one. Any thread.
 */
public final class Succession {
  private final Set<ConnectionState> open = ConcurrentHashMap.newKeySet();
  private volatile Service current;

  /**
   * Makes a succession.
   *
   * @param first the service that it begins with
   */
  public Succession(Service first) {
    current = first;
  }

  /** {@return the service of connections that negotiate now} */
  public Service current() {
    return current;
  }

  /**
   * Has another service follow.
   *
   * @param next the service of connections that negotiate from now on
   */
  public void follow(Service next) {
    current = next;
  }

  void opened(ConnectionState connection) {
    open.add(connection);
  }

  void ended(ConnectionState connection) {
    open.remove(connection);
  }

  /**
   * {@return the open connections that keep an earlier service, by their numbers: those that have
   * not taken over the current one when they could, and, if its factory says what it wants of all
   * connections, those that will not}
   */
  public List<OutdatedConnection> outdated() {
    Service now = current;
    Optional<Request> request = request(now);
    List<OutdatedConnection> outdated = new ArrayList<>();
    for (ConnectionState connection : open) {
      Refusal refusal = connection.refusal();
      if (refusal != null && refusal.service() == now) {
        outdated.add(refusal.report());
      } else if (connection.service() != now && request.isPresent()) {
        Agreement agreement = connection.negotiatedAgreement();
        Missing missing =
            agreement == null ? Missing.NOTHING : Negotiation.missing(agreement, request.get());
        if (!missing.isEmpty()) {
          outdated.add(new OutdatedConnection(connection.id(), connection.peer(), missing, null));
        }
      }
    }
    outdated.sort(Comparator.comparingLong(OutdatedConnection::id));
    return outdated;
  }

  /** What is wrong with a factory that does not know shows on its connections. */
  private static Optional<Request> request(Service service) {
    try {
      return Objects.requireNonNull(service.factory().knownRequest());
    } catch (Throwable e) {
      return Optional.empty();
    }
  }

  /**
   * A connection keeps its service.
   *
   * @param service the one that it has not taken over
   * @param report why
   */
  record Refusal(Service service, OutdatedConnection report) {}
}
