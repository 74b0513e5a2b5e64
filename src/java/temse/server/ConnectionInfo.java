package temse.server;

import org.jspecify.annotations.Nullable;
import temse.protocol.Agreement;
import temse.protocol.MacroTable;

/** What is known of an MTA connection: for reports, without the means to answer. */
public interface ConnectionInfo {
  /** Returns the connection's number, unique within its server. */
  long id();

  /** Returns the MTA's end of the socket, {@code inet:40112@127.0.0.1} for example. */
  String peer();

  /** Returns what was agreed with the MTA, or null before the negotiation. */
  @Nullable Agreement agreement();

  /** Returns the macros that hold now. */
  MacroTable macros();

  /**
   * Returns what is known of the mail at hand, for logs: a printable line such as {@code
   * queue-id=4F3A21 client=mail.example.org[192.0.2.1] from=<a@example.org> to=<b@example.com>},
   * empty before the SMTP client is known.
   */
  default String mail() {
    return "";
  }
}
