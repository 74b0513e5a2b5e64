package temse.schedules;

import java.util.ArrayDeque;
import java.util.Queue;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.Executor;
import java.util.concurrent.RejectedExecutionException;
import java.util.concurrent.ThreadFactory;
import java.util.concurrent.TimeUnit;

/**
 * What a {@link java.util.concurrent.ThreadPoolExecutor} becomes; one without a queue: work goes to
 * an idle thread, else to a new one.
 */
public final class ScheduledPool implements Executor {
  private final int core;
  private final int largest;
  private final long idleNanos;
  private final ThreadFactory factory;
  private final Queue<Worker> idle = new ArrayDeque<>();
  private int workers;
  private boolean shutdown;

  public ScheduledPool(
      int core,
      int largest,
      long idleTime,
      TimeUnit unit,
      BlockingQueue<Runnable> queue,
      ThreadFactory factory) {
    if (queue.remainingCapacity() > 0) {
      Hooks.unsupported("a ThreadPoolExecutor with a queue");
    }
    this.core = core;
    this.largest = largest;
    this.idleNanos = unit.toNanos(idleTime);
    this.factory = factory;
  }

  @Override
  public void execute(Runnable work) {
    if (shutdown) {
      throw new RejectedExecutionException("the pool is shut down");
    }
    if (workers >= core && !idle.isEmpty()) {
      idle.remove().work = work;
      return;
    }
    if (workers >= largest) {
      throw new RejectedExecutionException("the pool has no more threads");
    }
    Worker worker = new Worker(work);
    Thread thread = factory.newThread(worker);
    workers++;
    thread.start();
  }

  public void shutdown() {
    shutdown = true;
  }

  public boolean isShutdown() {
    return shutdown;
  }

  public boolean isTerminated() {
    return shutdown && workers == 0;
  }

  public boolean awaitTermination(long time, TimeUnit unit) throws InterruptedException {
    return Hooks.awaitInterruptibly(this::isTerminated, unit.toNanos(time));
  }

  private final class Worker implements Runnable {
    private Runnable work;

    Worker(Runnable first) {
      work = first;
    }

    @Override
    public void run() {
      while (work != null) {
        Runnable now = work;
        work = null;
        now.run();
        awaitWork();
      }
      workers--;
    }

    private void awaitWork() {
      Scheduler.currentThread().takeInterrupt();
      idle.add(this);
      Scheduler scheduler = Scheduler.current();
      long nanos = workers > core ? idleNanos : Long.MAX_VALUE;
      scheduler.await(() -> work != null || shutdown, scheduler.deadline(nanos));
      idle.remove(this);
    }
  }
}
