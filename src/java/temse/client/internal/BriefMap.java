package temse.client.internal;

import clojure.lang.APersistentMap;
import clojure.lang.IFn;
import clojure.lang.IKVReduce;
import clojure.lang.IMapEntry;
import clojure.lang.IObj;
import clojure.lang.IPersistentCollection;
import clojure.lang.IPersistentMap;
import clojure.lang.ISeq;
import clojure.lang.RT;
import java.util.Iterator;

/**
 * A map like any other, and equal to others, whose class says that it is to be printed in a few
 * lines: a result that holds whole mails and conversations, or a context.
 */
public final class BriefMap extends APersistentMap implements IObj, IKVReduce {
  private static final long serialVersionUID = 1L;

  /** The map itself. */
  @SuppressWarnings("serial") // the maps of Clojure are serializable, their interface is not
  private final IPersistentMap map;

  private BriefMap(IPersistentMap map) {
    this.map = map;
  }

  /**
   * {@return the map, with its metadata, as one that is printed in a few lines}
   *
   * @param map any
   */
  public static BriefMap of(IPersistentMap map) {
    return map instanceof BriefMap brief ? brief : new BriefMap(map);
  }

  @Override
  public IPersistentMap assoc(Object key, Object value) {
    return new BriefMap(map.assoc(key, value));
  }

  @Override
  public IPersistentMap assocEx(Object key, Object value) {
    return new BriefMap(map.assocEx(key, value));
  }

  @Override
  public IPersistentMap without(Object key) {
    return new BriefMap(map.without(key));
  }

  @Override
  public IPersistentCollection empty() {
    return new BriefMap((IPersistentMap) map.empty());
  }

  @Override
  public boolean containsKey(Object key) {
    return map.containsKey(key);
  }

  @Override
  public IMapEntry entryAt(Object key) {
    return map.entryAt(key);
  }

  @Override
  public Object valAt(Object key) {
    return map.valAt(key);
  }

  @Override
  public Object valAt(Object key, Object otherwise) {
    return map.valAt(key, otherwise);
  }

  @Override
  public int count() {
    return map.count();
  }

  @Override
  public ISeq seq() {
    return map.seq();
  }

  @Override
  public Iterator<?> iterator() {
    return map.iterator();
  }

  @Override
  public Object kvreduce(IFn f, Object start) {
    return ((IKVReduce) map).kvreduce(f, start);
  }

  @Override
  public IPersistentMap meta() {
    return RT.meta(map);
  }

  @Override
  public IObj withMeta(IPersistentMap meta) {
    return new BriefMap((IPersistentMap) ((IObj) map).withMeta(meta));
  }
}
