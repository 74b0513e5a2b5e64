package temse.message;

import clojure.lang.Keyword;
import org.jspecify.annotations.Nullable;

/**
 * The SMTP client that sends a message; what the MTA has not sent is null.
 *
 * @param hostName its name, or its address in brackets
 * @param address its IP address or the path of its socket
 * @param port its port
 * @param family {@code :inet}, {@code :inet6}, {@code :unix} or {@code :unknown}
 * @param greeting the argument of its HELO or EHLO
 */
public record Client(
    @Nullable String hostName,
    @Nullable String address,
    @Nullable Long port,
    @Nullable Keyword family,
    @Nullable String greeting) {
  static final Client UNKNOWN = new Client(null, null, null, null, null);

  Client withGreeting(@Nullable String said) {
    return new Client(hostName, address, port, family, said);
  }
}
