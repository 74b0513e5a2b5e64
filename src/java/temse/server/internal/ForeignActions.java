package temse.server.internal;

import clojure.lang.IPersistentMap;
import clojure.lang.PersistentArrayMap;
import clojure.lang.PersistentHashMap;
import java.util.List;
import java.util.Map;
import temse.protocol.ActionCodec;
import temse.protocol.BodyPieces;

/** Actions as they come from handlers: maps and lists of anybody's classes, which may throw. */
final class ForeignActions {
  private ForeignActions() {}

  /**
   * Returns the action with its aliases resolved, as a map of Clojure's own: what is checked is
   * what is written, reported and repeated.
   *
   * @throws temse.protocol.MilterException BAD_ACTION if an alias has a key of another action
   */
  static IPersistentMap own(IPersistentMap action) {
    IPersistentMap normal = ActionCodec.normalise(action);
    Class<?> type = normal.getClass();
    if (type == PersistentArrayMap.class || type == PersistentHashMap.class) {
      return normal;
    }
    IPersistentMap own = PersistentArrayMap.EMPTY;
    for (Object entry : normal) {
      own = own.assoc(((Map.Entry<?, ?>) entry).getKey(), ((Map.Entry<?, ?>) entry).getValue());
    }
    return own;
  }

  /** Closes the streams of an action that will not be sent; never throws. */
  static void discard(IPersistentMap action) {
    try {
      BodyPieces.discard(action);
    } catch (Throwable e) {
      // It is null, or a map in which nothing more can be found.
    }
  }

  /**
   * Closes the streams of what an event's call holds and its handler has returned; never throws.
   */
  static void discard(BodyPieces collected, List<IPersistentMap> returned) {
    try {
      if (collected != null) {
        collected.close();
      }
    } catch (Throwable e) {
      // The body is given up.
    }
    try {
      if (returned != null) {
        returned.forEach(ForeignActions::discard);
      }
    } catch (Throwable e) {
      // It is a list in which nothing more can be found.
    }
  }
}
