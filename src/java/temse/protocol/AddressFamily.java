package temse.protocol;

import clojure.lang.Keyword;
import org.jspecify.annotations.Nullable;

/** The address family of an SMTP client: libmilter's {@code SMFIA_*}. */
public enum AddressFamily {
  /** {@code SMFIA_INET}: IPv4. */
  INET('4', "inet"),
  /** {@code SMFIA_INET6}: IPv6. */
  INET6('6', "inet6"),
  /** {@code SMFIA_UNIX}: a Unix-domain socket. */
  UNIX('L', "unix"),
  /** {@code SMFIA_UNKNOWN}: the MTA does not know it; there is no address then. */
  UNKNOWN('U', "unknown");

  /** Its byte on the wire. */
  public final byte code;

  /** Value of {@code :family} in event maps. */
  public final Keyword keyword;

  AddressFamily(char code, String name) {
    this.code = (byte) code;
    this.keyword = Keyword.intern(name);
  }

  private static final AddressFamily[] VALUES = values();

  /** {@return the family of a byte, or null if there is none} */
  static @Nullable AddressFamily ofCode(int code) {
    for (AddressFamily family : VALUES) {
      if (family.code == code) {
        return family;
      }
    }
    return null;
  }

  /**
   * {@return the family whose keyword this is, or null}
   *
   * @param keyword such as {@code :inet6}
   */
  public static @Nullable AddressFamily ofKeyword(@Nullable Object keyword) {
    for (AddressFamily family : VALUES) {
      if (family.keyword == keyword) {
        return family;
      }
    }
    return null;
  }
}
