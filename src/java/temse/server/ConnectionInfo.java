package temse.server;

import org.jspecify.annotations.Nullable;
import temse.protocol.Agreement;
import temse.protocol.MacroTable;

/** What is known of an MTA connection: for reports, without the means to answer. */
public interface ConnectionInfo {
  /** {@return the connection's number, unique within its server} */
  long id();

  /** {@return the MTA's end of the socket, {@code inet:40112@127.0.0.1} for example} */
  String peer();

  /** {@return what was agreed with the MTA, or null before the negotiation} */
  @Nullable Agreement agreement();

  /** {@return the macros that hold now} */
  MacroTable macros();

  /**
   * {@return what is known of the mail at hand, for logs: a printable line such as {@code
   * queue-id=4F3A21 client=mail.example.org[192.0.2.1] from=<a@example.org> to=<b@example.com>},
   * empty before the SMTP client is known}
   */
  default String mail() {
    return "";
  }

  /** {@return what is known of the client and the mail at hand, as data} */
  default MailInfo mailInfo() {
    return MailInfo.NONE;
  }
}
