package temse.protocol;

import clojure.lang.Keyword;
import java.util.Locale;
import org.jspecify.annotations.Nullable;

/** Why an SMTP client is gone: the {@code :reason} of a {@code :disconnect}. */
public enum DisconnectReason {
  /** The MTA has ended the connection to the milter ({@code SMFIC_QUIT}). */
  QUIT,
  /** The MTA keeps the connection for another client ({@code SMFIC_QUIT_NC}). */
  NEW_CONNECTION,
  /** The connection to the MTA was lost. */
  CONNECTION_LOST,
  /** The connection was closed for an error. */
  ERROR,
  /** The server stops. */
  STOPPING,
  /** Another milter serves the client from now on: that of a changed filter. */
  REPLACED;

  /** Value of {@code :reason} in event maps. */
  public final Keyword keyword = Keyword.intern(name().toLowerCase(Locale.ROOT).replace('_', '-'));

  /**
   * {@return the reason whose keyword this is, or null}
   *
   * @param keyword such as {@code :quit}
   */
  public static @Nullable DisconnectReason ofKeyword(@Nullable Object keyword) {
    for (DisconnectReason reason : values()) {
      if (reason.keyword == keyword) {
        return reason;
      }
    }
    return null;
  }
}
