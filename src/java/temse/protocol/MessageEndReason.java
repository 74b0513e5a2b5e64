package temse.protocol;

import clojure.lang.Keyword;
import java.util.Locale;
import org.jspecify.annotations.Nullable;

/** Why a message has ended: the {@code :reason} of a {@code :message-end}. */
public enum MessageEndReason {
  /** The milter has accepted it, or has let its end pass. */
  ACCEPTED,
  /** The milter has refused it for good. */
  REJECTED,
  /** The milter has refused it for now. */
  DEFERRED,
  /** The milter has had it thrown away. */
  DISCARDED,
  /** The MTA has dropped it ({@code SMFIC_ABORT}), or has begun another. */
  ABORTED,
  /** The connection to the MTA was lost, or closed. */
  LOST;

  /** Value of {@code :reason} in event maps. */
  public final Keyword keyword = Keyword.intern(name().toLowerCase(Locale.ROOT));

  /**
   * {@return how a message ends by a verdict: see {@link ActionCodec#verdict}}
   *
   * @param verdict accept, reject, temporary failure or discard
   */
  public static MessageEndReason of(ActionType verdict) {
    return switch (verdict) {
      case REJECT -> REJECTED;
      case TEMPORARY_FAILURE -> DEFERRED;
      case DISCARD -> DISCARDED;
      default -> ACCEPTED;
    };
  }

  /**
   * {@return the reason whose keyword this is, or null}
   *
   * @param keyword such as {@code :accepted}
   */
  public static @Nullable MessageEndReason ofKeyword(@Nullable Object keyword) {
    for (MessageEndReason reason : values()) {
      if (reason.keyword == keyword) {
        return reason;
      }
    }
    return null;
  }
}
