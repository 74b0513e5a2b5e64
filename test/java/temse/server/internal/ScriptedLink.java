package temse.server.internal;

import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.ByteArrayOutputStream;
import java.util.ArrayDeque;
import java.util.Queue;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.function.IntPredicate;
import temse.protocol.Output;
import temse.transport.internal.Link;

/**
 * A link without a socket: keeps what is written and the tasks for later, and refuses to run
 * handlers where the script says so.
 */
final class ScriptedLink implements Link {
  final Queue<Runnable> tasks = new ConcurrentLinkedQueue<>();

  /** The sizes of what was flushed before the call of the conversation returned. */
  final Queue<Integer> flushed = new ArrayDeque<>();

  /** The kinds of foreign code that was entered, in order. */
  final Queue<Integer> kinds = new ArrayDeque<>();

  private final Output output = new Output();
  private final ByteArrayOutputStream written = new ByteArrayOutputStream();
  private IntPredicate refusal = entry -> false;
  private int entries;
  private boolean onSpareThread;
  private boolean inside;

  /** Whether the peer does not take what was written. */
  boolean congested;

  /** Says which handler calls, counted from 0, must run on another thread. */
  void refuse(IntPredicate entry) {
    refusal = entry;
  }

  void moveToSpareThread(boolean moved) {
    onSpareThread = moved;
  }

  boolean isInside() {
    return inside;
  }

  byte[] take() {
    write();
    byte[] bytes = written.toByteArray();
    written.reset();
    return bytes;
  }

  @Override
  public Output output() {
    return output;
  }

  @Override
  public void flush() {
    if (output.size() > 0) {
      flushed.add(output.size());
      write();
    }
  }

  private void write() {
    written.writeBytes(output.toByteArray());
    output.clear();
  }

  @Override
  public boolean isCongested() {
    return congested;
  }

  @Override
  public void writeNow(byte[] packets) {
    written.writeBytes(packets);
  }

  @Override
  public boolean enter(int kind) {
    assertTrue(kind >= 0 && kind < 64, "kinds are from 0 to 63");
    assertFalse(inside, "handlers of one connection run one at a time");
    if (!onSpareThread && refusal.test(entries)) {
      return false;
    }
    entries++;
    kinds.add(kind);
    inside = true;
    return true;
  }

  @Override
  public void leave() {
    assertTrue(inside, "leave comes after enter");
    inside = false;
  }

  @Override
  public void later(Runnable task) {
    tasks.add(task);
  }

  @Override
  public String peer() {
    return "scripted";
  }
}
