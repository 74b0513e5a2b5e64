package temse.compose;

import clojure.lang.IPersistentMap;
import java.util.Optional;
import org.jspecify.annotations.Nullable;
import temse.network.Networks;
import temse.protocol.AddressFamily;
import temse.protocol.Event;
import temse.protocol.EventType;
import temse.server.MilterConnection;

/**
 * Where a message comes from, for predicates that say whether a filter is there.
 *
 * <pre>{@code
 * Filter.of(spf).whenMessage(origin -> !origin.isAuthenticated())
 * }</pre>
 *
 * @see Filter#whenClient
 * @see Filter#whenMessage
 */
public final class Origin {
  private static final Networks LOOPBACK = Networks.of("127.0.0.0/8", "::1");

  private final MilterConnection connection;
  private final Event.Connect client;
  private final @Nullable String sender;

  /**
   * Makes one, for tests of predicates.
   *
   * @param connection for macros
   * @param client the {@code :connect} event
   * @param sender the path of MAIL FROM, or null before it
   */
  public Origin(MilterConnection connection, IPersistentMap client, @Nullable String sender) {
    this.connection = connection;
    this.client = (Event.Connect) Event.view(EventType.CONNECT, client);
    this.sender = sender;
  }

  /** {@return the connection to the MTA, for macros} */
  public MilterConnection connection() {
    return connection;
  }

  /** {@return the SMTP client as the MTA has reported it} */
  public Event.Connect client() {
    return client;
  }

  /** {@return the path of MAIL FROM, such as {@code <ann@example.org>}; empty before it} */
  public Optional<String> sender() {
    return Optional.ofNullable(sender);
  }

  /**
   * {@return true if the client has authenticated itself with AUTH: the macro {@code
   * {auth_authen}}, which Postfix and Sendmail send at MAIL}
   */
  public boolean isAuthenticated() {
    String user = connection.macros().get("auth_authen");
    return user != null && !user.isBlank();
  }

  /**
   * {@return true if the client is of this machine: its address is one of loopback, or it is
   * connected by a Unix-domain socket}
   */
  public boolean isLocal() {
    return client.family() == AddressFamily.UNIX || isFrom(LOOPBACK);
  }

  /**
   * {@return true if the client's address is in one of the networks}
   *
   * @param networks such as {@code Networks.of("192.0.2.0/24")}
   */
  public boolean isFrom(Networks networks) {
    return client.address().filter(networks::contains).isPresent();
  }
}
