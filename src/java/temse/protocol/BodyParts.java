package temse.protocol;

import clojure.lang.Counted;
import clojure.lang.Fn;
import clojure.lang.IPersistentMap;
import clojure.lang.Sequential;
import java.io.File;
import java.io.InputStream;
import java.nio.file.Path;
import java.util.Collection;
import java.util.Map;
import java.util.function.Consumer;
import java.util.function.Supplier;

/**
 * Goes through what an action gives as its body, without running, opening or reading any of it:
 * collections in memory are walked, lazy sequences are parts like others.
 *
 * <p>Collections that hold themselves, or very many parts, end the walk with an error.
 */
final class BodyParts {
  /** How deep sequences may be nested. */
  static final int DEEPEST = 64;

  private static final int MOST = 1_000_000;

  private final IPersistentMap action;
  private final Consumer<Object> visitor;
  private int visited;

  private BodyParts(IPersistentMap action, Consumer<Object> visitor) {
    this.action = action;
    this.visitor = visitor;
  }

  /**
   * Calls the visitor with each part, in order; what is no body as well.
   *
   * @throws MilterException BAD_ACTION if collections are nested too deep or have too many parts
   */
  static void visit(IPersistentMap action, Object body, Consumer<Object> visitor) {
    new BodyParts(action, visitor).walk(body, 0);
  }

  private void walk(Object part, int depth) {
    if (++visited > MOST) {
      throw ActionFields.bad(
          action, ":body has more than " + MOST + " parts; give a stream or a lazy sequence");
    }
    if (isCollection(part)) {
      checkDepth(action, depth);
      for (Object inner : (Iterable<?>) part) {
        walk(inner, depth + 1);
      }
    } else {
      visitor.accept(part);
    }
  }

  /** Returns true for a collection that is in memory as a whole. */
  private static boolean isCollection(Object part) {
    return isSequence(part)
        && (part instanceof Counted || part instanceof Collection && !(part instanceof Sequential));
  }

  /** Returns true for whatever yields parts, one after the other. */
  static boolean isSequence(Object part) {
    return part instanceof Iterable
        && !(part instanceof Path)
        && !(part instanceof Map)
        && !(part instanceof IPersistentMap);
  }

  /** Returns true for what is called to get the part that it stands for. */
  static boolean isFunction(Object part) {
    return part instanceof Supplier || part instanceof Fn;
  }

  static void checkDepth(IPersistentMap action, int depth) {
    if (depth >= DEEPEST) {
      throw ActionFields.bad(action, ":body is nested more than " + DEEPEST + " levels deep");
    }
  }

  /** Checks that a part is a body, or something that yields one. */
  static void checkType(IPersistentMap action, Object part) {
    boolean right =
        part instanceof byte[]
            || part instanceof String
            || part instanceof InputStream
            || part instanceof File
            || part instanceof Path
            || isFunction(part)
            || isSequence(part);
    if (!right) {
      throw part == action.valAt(Keys.BODY)
          ? ActionFields.wrong(action, Keys.BODY)
          : ActionFields.bad(
              action,
              Keys.BODY
                  + " must be "
                  + ActionKeys.right(Keys.BODY)
                  + ", among its parts is "
                  + Shown.of(part));
    }
    if (part instanceof String text && Text.problem(text) != null) {
      throw ActionFields.bad(action, Keys.BODY + " holds " + Text.problem(text));
    }
  }
}
