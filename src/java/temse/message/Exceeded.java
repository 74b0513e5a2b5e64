package temse.message;

import org.jspecify.annotations.Nullable;
import temse.protocol.Action;

/** What it means that a message has more octets than a filter takes. */
public enum Exceeded {
  /** The filter receives its beginning, and {@link Message#truncated()} is true. */
  TRUNCATE(null),
  /** It is deferred; the filter does not receive it. */
  DEFER(Action.replyCode(452, "4.3.4", "The message is larger than the filter takes")),
  /** It is accepted; the filter does not receive it. */
  ACCEPT(Action.accept()),
  /** It is rejected; the filter does not receive it. */
  REJECT(Action.replyCode(552, "5.3.4", "The message is larger than the filter takes"));

  private final Action.@Nullable Reply reply;

  Exceeded(Action.@Nullable Reply reply) {
    this.reply = reply;
  }

  /** {@return the reply in the filter's place, or null if the filter is asked} */
  public Action.@Nullable Reply reply() {
    return reply;
  }
}
