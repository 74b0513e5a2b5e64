package temse.message;

import clojure.lang.IPersistentMap;
import temse.protocol.Actions;

/** What it means that a message has more octets than a filter takes. */
public enum Exceeded {
  /** The filter receives its beginning, and {@link Message#truncated()} is true. */
  TRUNCATE(null),
  /** It is deferred; the filter does not receive it. */
  DEFER(Actions.replyCode(452, "4.3.4", "The message is larger than the filter takes")),
  /** It is accepted; the filter does not receive it. */
  ACCEPT(Actions.accept()),
  /** It is rejected; the filter does not receive it. */
  REJECT(Actions.replyCode(552, "5.3.4", "The message is larger than the filter takes"));

  private final IPersistentMap reply;

  Exceeded(IPersistentMap reply) {
    this.reply = reply;
  }

  /** Returns the reply in the filter's place, or null if the filter is asked. */
  public IPersistentMap reply() {
    return reply;
  }
}
