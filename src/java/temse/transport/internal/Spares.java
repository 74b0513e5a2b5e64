package temse.transport.internal;

import java.util.Iterator;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.RejectedExecutionException;
import java.util.concurrent.SynchronousQueue;
import java.util.concurrent.ThreadPoolExecutor;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.function.Consumer;
import temse.protocol.Output;
import temse.transport.TransportOptions;

/**
 * The threads of a server. Some carry a loop; some are held by a connection, whose user code may
 * block; the others are spare, and end after a while but for one. A thread keeps its name when it
 * changes its part.
 *
 * <p>The number of held threads is limited. A connection that wants one more waits its turn. A loop
 * that wants to leave its thread to a connection may exceed the limit by {@value #RESERVE_PER_LOOP}
 * threads per loop: beyond the limit every kind of user code that was caught blocking stays under
 * suspicion and is not begun on a loop again, so that each kind takes one thread of each loop,
 * which needs half of the reserve at most. The other half is for connections that end.
 */
final class Spares {
  private static final long IDLE_SECONDS = 10;
  private static final int RESERVE_PER_LOOP = 2 * Suspicion.KINDS;

  /** A thread of the server, with its own buffer for answers. */
  private static final class Carrier extends Thread {
    private final Output output = Output.direct();
    private final Spares spares;

    Carrier(Runnable work, String name, Spares spares) {
      super(work, name);
      this.spares = spares;
    }

    @Override
    public void run() {
      try {
        register();
        super.run();
      } finally {
        spares.alive.remove(this);
      }
    }

    /** Work that is handed to a new thread must not be lost, even if memory is short. */
    private void register() {
      try {
        spares.alive.add(this);
      } catch (OutOfMemoryError unknown) {
        // A stop will not interrupt it.
      }
    }
  }

  private final Consumer<Throwable> problems;
  private final ThreadPoolExecutor threads;
  private final Set<Thread> alive = ConcurrentHashMap.newKeySet();
  private final Set<Runnable> waiting = new LinkedHashSet<>();
  private final int reserve;
  private int limit;
  private int held;
  private volatile boolean crowded;
  private long lent;
  private long waits;

  Spares(TransportOptions options, Consumer<Throwable> problems) {
    this.limit = options.maxBlocked();
    this.reserve = RESERVE_PER_LOOP * options.loops();
    this.problems = problems;
    AtomicInteger made = new AtomicInteger();
    threads =
        new ThreadPoolExecutor(
            options.loops() + 1,
            Integer.MAX_VALUE,
            IDLE_SECONDS,
            TimeUnit.SECONDS,
            new SynchronousQueue<>(),
            work -> {
              int number = made.getAndIncrement() - options.loops();
              String role = number < 0 ? "-loop-" + (number + options.loops()) : "-spare-" + number;
              Thread thread = new Carrier(work, options.name() + role, this);
              thread.setDaemon(options.daemon());
              return thread;
            });
  }

  /** Returns the calling thread's buffer for answers. */
  static Output output() {
    return Thread.currentThread() instanceof Carrier carrier ? carrier.output : new Output();
  }

  /** Runs a loop that has no thread yet. */
  void carry(EventLoop loop) {
    threads.execute(loop);
  }

  /**
   * Runs {@code work} on a thread of its own, unless the reserve is used up. Then one more thread
   * counts as held until {@link #release} is called.
   */
  boolean hold(Runnable work) {
    synchronized (this) {
      if (held - reserve >= limit) {
        return false;
      }
      count(1);
    }
    if (start(work)) {
      return true;
    }
    synchronized (this) {
      count(-1);
    }
    return false;
  }

  private void count(int change) {
    held += change;
    crowded = held >= limit;
  }

  /** Returns true if no thread can be lent now. */
  boolean isCrowded() {
    return crowded;
  }

  /** Returns true if a loop that runs the end of a connection could leave its thread. */
  synchronized boolean hasRoomForEnds() {
    return held - reserve / 2 < limit;
  }

  /**
   * Runs {@code work} on a thread of its own, now or when one is free.
   *
   * @return false if there is none and none will come free
   */
  boolean lend(Runnable work) {
    Runnable all = () -> runAll(work);
    synchronized (this) {
      lent++;
      if (held >= limit) {
        await(work);
        return true;
      }
      count(1);
    }
    if (start(all)) {
      return true;
    }
    synchronized (this) {
      count(-1);
      if (held == 0) {
        return false;
      }
      await(work);
      return true;
    }
  }

  /** Takes back work that still waits for a thread; returns false if it does not. */
  synchronized boolean withdraw(Runnable work) {
    return waiting.remove(work);
  }

  /** The calling thread is held no more; but first it serves those that wait for a thread. */
  void release() {
    runAll(next());
  }

  private void await(Runnable work) {
    waiting.add(work);
    waits++;
  }

  private void runAll(Runnable first) {
    for (Runnable work = first; work != null; work = next()) {
      try {
        work.run();
      } catch (Throwable problem) {
        problems.accept(problem);
      }
    }
  }

  private synchronized Runnable next() {
    Iterator<Runnable> first = waiting.iterator();
    if (held > limit || !first.hasNext()) {
      count(-1);
      return null;
    }
    Runnable work = first.next();
    first.remove();
    return work;
  }

  private boolean start(Runnable work) {
    try {
      threads.execute(work);
      return true;
    } catch (OutOfMemoryError | RejectedExecutionException noThread) {
      return false;
    }
  }

  /** Returns how often a connection was given a thread of its own. */
  synchronized long lent() {
    return lent;
  }

  /** Returns how often a connection had to wait for a thread. */
  synchronized long waits() {
    return waits;
  }

  /** Lifts the limit, since held threads may never come free: nothing has to wait any more. */
  void liftLimit() {
    List<Runnable> waited;
    synchronized (this) {
      limit = Integer.MAX_VALUE;
      waited = List.copyOf(waiting);
      waiting.clear();
      count(waited.size());
    }
    for (Runnable work : waited) {
      if (!start(() -> runAll(work))) {
        runAll(work);
      }
    }
  }

  boolean isCurrentThread() {
    return Thread.currentThread() instanceof Carrier carrier && carrier.spares == this;
  }

  void interruptAll() {
    alive.forEach(Thread::interrupt);
  }

  /** Returns the names of the threads that have not ended. */
  List<String> running() {
    return alive.stream().map(Thread::getName).sorted().toList();
  }

  /** Lets spare threads end, and the others as soon as they have done their work. */
  void shutdown() {
    threads.shutdown();
  }

  boolean awaitEnd(long nanos) throws InterruptedException {
    return threads.awaitTermination(nanos, TimeUnit.NANOSECONDS);
  }
}
