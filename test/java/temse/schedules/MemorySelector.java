package temse.schedules;

import java.nio.channels.ClosedSelectorException;
import java.nio.channels.SelectableChannel;
import java.nio.channels.SelectionKey;
import java.nio.channels.Selector;
import java.nio.channels.spi.AbstractSelectableChannel;
import java.nio.channels.spi.AbstractSelectionKey;
import java.nio.channels.spi.AbstractSelector;
import java.util.Collections;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Set;
import java.util.function.Consumer;

/** A selector of a {@link Network}. */
final class MemorySelector extends AbstractSelector {
  private final Set<SelectionKey> keys = new LinkedHashSet<>();
  private boolean woken;

  MemorySelector() {
    super(null);
  }

  private final class Key extends AbstractSelectionKey {
    private final SelectableChannel channel;
    private int interest;
    private int ready;

    Key(SelectableChannel channel) {
      this.channel = channel;
    }

    @Override
    public SelectableChannel channel() {
      return channel;
    }

    @Override
    public Selector selector() {
      return MemorySelector.this;
    }

    @Override
    public int interestOps() {
      return interest;
    }

    @Override
    public SelectionKey interestOps(int ops) {
      interest = ops;
      return this;
    }

    @Override
    public int readyOps() {
      return ready;
    }

    int possible() {
      return isValid() ? interest & ((MemoryChannel) channel).readyOps() : 0;
    }
  }

  @Override
  protected SelectionKey register(AbstractSelectableChannel channel, int ops, Object attachment) {
    if (!isOpen()) {
      throw new ClosedSelectorException();
    }
    Key key = new Key(channel);
    key.interestOps(ops);
    key.attach(attachment);
    keys.add(key);
    return key;
  }

  @Override
  public int select(Consumer<SelectionKey> action, long millis) {
    return select(action, millis == 0 ? Long.MAX_VALUE : millis * 1_000_000, true);
  }

  @Override
  public int selectNow(Consumer<SelectionKey> action) {
    return select(action, 0, false);
  }

  @Override
  public int selectNow() {
    return select(key -> {}, 0, false);
  }

  private int select(Consumer<SelectionKey> action, long nanos, boolean waits) {
    removeCancelled();
    if (waits) {
      ScheduledThread me = Scheduler.currentThread();
      Scheduler scheduler = me.scheduler();
      scheduler.await(
          () -> woken || me.isInterrupted() || !isOpen() || isAnyPossible(),
          scheduler.deadline(nanos));
    }
    if (!isOpen()) {
      throw new ClosedSelectorException();
    }
    woken = false;
    removeCancelled();
    int selected = 0;
    for (SelectionKey key : List.copyOf(keys)) {
      ((Key) key).ready = ((Key) key).possible();
      if (((Key) key).ready != 0) {
        selected++;
        action.accept(key);
      }
    }
    return selected;
  }

  private boolean isAnyPossible() {
    for (SelectionKey key : keys) {
      if (((Key) key).possible() != 0) {
        return true;
      }
    }
    return false;
  }

  private void removeCancelled() {
    keys.removeIf(key -> !key.isValid());
  }

  /** Returns them as they are now; those of the JDK may be iterated while they change, too. */
  @Override
  public Set<SelectionKey> keys() {
    if (!isOpen()) {
      throw new ClosedSelectorException();
    }
    return Collections.unmodifiableSet(new LinkedHashSet<>(keys));
  }

  @Override
  public Selector wakeup() {
    woken = true;
    return this;
  }

  @Override
  protected void implCloseSelector() {
    keys.forEach(key -> deregister((AbstractSelectionKey) key));
    keys.clear();
  }

  // ---- what a loop does not use

  @Override
  public Set<SelectionKey> selectedKeys() {
    throw new UnsupportedOperationException("selectedKeys");
  }

  @Override
  public int select(long millis) {
    throw new UnsupportedOperationException("select");
  }

  @Override
  public int select() {
    throw new UnsupportedOperationException("select");
  }
}
