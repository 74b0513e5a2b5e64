package temse.server;

import clojure.lang.Keyword;
import temse.protocol.ActionType;

/** The values of {@code :reason} in the events that the library announces. */
final class Names {
  static final Keyword QUIT = Keyword.intern("quit");
  static final Keyword NEW_CONNECTION = Keyword.intern("new-connection");
  static final Keyword CONNECTION_LOST = Keyword.intern("connection-lost");
  static final Keyword ERROR = Keyword.intern("error");
  static final Keyword STOPPING = Keyword.intern("stopping");

  static final Keyword ABORTED = Keyword.intern("aborted");
  static final Keyword LOST = Keyword.intern("lost");
  private static final Keyword ACCEPTED = Keyword.intern("accepted");
  private static final Keyword REJECTED = Keyword.intern("rejected");
  private static final Keyword DEFERRED = Keyword.intern("deferred");
  private static final Keyword DISCARDED = Keyword.intern("discarded");

  private Names() {}

  static Keyword ofVerdict(ActionType verdict) {
    return switch (verdict) {
      case REJECT -> REJECTED;
      case TEMPORARY_FAILURE -> DEFERRED;
      case DISCARD -> DISCARDED;
      default -> ACCEPTED;
    };
  }
}
