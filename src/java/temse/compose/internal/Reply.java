package temse.compose.internal;

import clojure.lang.IPersistentMap;
import java.util.EnumSet;
import java.util.List;
import java.util.Set;
import org.jspecify.annotations.Nullable;
import temse.protocol.ActionCodec;
import temse.protocol.ActionType;

/** The reply among the actions of a filter, and what it means to a sequence. */
final class Reply {
  private static final Set<ActionType> AGAINST =
      EnumSet.of(ActionType.REJECT, ActionType.TEMPORARY_FAILURE, ActionType.DISCARD);

  private Reply() {}

  /** Returns the reply, or null. */
  static @Nullable IPersistentMap of(List<IPersistentMap> actions) {
    IPersistentMap reply = null;
    for (IPersistentMap action : actions) {
      reply = isReply(action) ? action : reply;
    }
    return reply;
  }

  /** Returns the other actions. */
  static List<IPersistentMap> without(List<IPersistentMap> actions) {
    return actions.stream().filter(action -> !isReply(action)).toList();
  }

  private static boolean isReply(IPersistentMap action) {
    return ActionCodec.type(action).kind == ActionType.Kind.REPLY;
  }

  /** Returns the verdict of a reply, or null if there is none: the MTA is to go on. */
  static @Nullable ActionType verdict(@Nullable IPersistentMap reply) {
    ActionType verdict = reply == null ? null : ActionCodec.verdict(reply);
    return verdict == ActionType.CONTINUE ? null : verdict;
  }

  /** Returns true if it refuses, defers or discards. */
  static boolean isAgainst(@Nullable IPersistentMap reply) {
    ActionType verdict = verdict(reply);
    return verdict != null && AGAINST.contains(verdict);
  }
}
