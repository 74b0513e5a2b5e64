package temse.server.internal;

import clojure.lang.APersistentMap;
import clojure.lang.IMapEntry;
import clojure.lang.IPersistentCollection;
import clojure.lang.IPersistentMap;
import clojure.lang.ISeq;
import java.util.Iterator;

/** An action map of somebody's own class that throws from its n-th use on, or at that alone. */
final class TrapAction extends APersistentMap {
  private static final long serialVersionUID = 1L;

  private final transient IPersistentMap action;
  private final transient Throwable trap;
  private final boolean once;
  private int left;

  TrapAction(IPersistentMap action, int uses, boolean once, Throwable trap) {
    this.action = action;
    this.left = uses;
    this.once = once;
    this.trap = trap;
  }

  private IPersistentMap use() {
    left--;
    if (once ? left == 0 : left <= 0) {
      throw Chaos.raise(trap);
    }
    return action;
  }

  @Override
  public Object valAt(Object key) {
    return use().valAt(key);
  }

  @Override
  public Object valAt(Object key, Object notFound) {
    return use().valAt(key, notFound);
  }

  @Override
  public boolean containsKey(Object key) {
    return use().containsKey(key);
  }

  @Override
  public IMapEntry entryAt(Object key) {
    return use().entryAt(key);
  }

  @Override
  public IPersistentMap assoc(Object key, Object value) {
    return use().assoc(key, value);
  }

  @Override
  public IPersistentMap assocEx(Object key, Object value) {
    return use().assocEx(key, value);
  }

  @Override
  public IPersistentMap without(Object key) {
    return use().without(key);
  }

  @Override
  public int count() {
    return use().count();
  }

  @Override
  public IPersistentCollection empty() {
    return action.empty();
  }

  @Override
  public ISeq seq() {
    return use().seq();
  }

  @Override
  public Iterator<?> iterator() {
    return use().iterator();
  }

  @Override
  public String toString() {
    use();
    return "a trap around " + action;
  }
}
