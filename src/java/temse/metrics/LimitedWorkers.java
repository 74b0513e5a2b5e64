package temse.metrics;

import java.time.Duration;
import java.util.concurrent.ArrayBlockingQueue;
import java.util.concurrent.Executor;
import java.util.concurrent.Future;
import java.util.concurrent.ScheduledThreadPoolExecutor;
import java.util.concurrent.ThreadFactory;
import java.util.concurrent.ThreadPoolExecutor;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;

/**
 * Few threads for the requests of an HTTP server, each for a short time: what a client does, or
 * does not do, takes nothing else from the process.
 *
 * <p>A request that takes too long, its wait for a thread included, is interrupted, which closes
 * its connection, since the server reads and writes by channels. One that finds no room in the
 * queue is begun with the thread interrupted, with the same effect.
 */
final class LimitedWorkers implements Executor, AutoCloseable {
  private static final int THREADS = 4;
  private static final int WAITING = 16;
  private static final long IDLE_SECONDS = 10;

  private final AtomicInteger number = new AtomicInteger();
  private final ThreadPoolExecutor workers;
  private final ScheduledThreadPoolExecutor clock;
  private final long most;

  LimitedWorkers(Duration most) {
    this.most = most.toNanos();
    ThreadFactory threads =
        work -> {
          Thread thread = new Thread(work, "temse-metrics-" + number.incrementAndGet());
          thread.setDaemon(true);
          return thread;
        };
    workers =
        new ThreadPoolExecutor(
            THREADS,
            THREADS,
            IDLE_SECONDS,
            TimeUnit.SECONDS,
            new ArrayBlockingQueue<>(WAITING),
            threads,
            (request, pool) -> refuse((Request) request));
    workers.allowCoreThreadTimeOut(true);
    clock = new ScheduledThreadPoolExecutor(1, threads);
    clock.setRemoveOnCancelPolicy(true);
  }

  @Override
  public void execute(Runnable work) {
    workers.execute(new Request(work));
  }

  private static void refuse(Request request) {
    Thread.currentThread().interrupt();
    try {
      request.work.run();
    } finally {
      Thread.interrupted();
    }
  }

  @Override
  public void close() {
    clock.shutdownNow();
    workers.shutdownNow();
  }

  /** The work for one request, and who does it. */
  private final class Request implements Runnable {
    private final Runnable work;
    private final long due;
    private Thread worker;

    Request(Runnable work) {
      this.work = work;
      this.due = System.nanoTime() + most;
    }

    @Override
    public void run() {
      worker(Thread.currentThread());
      Future<?> end =
          clock.schedule(this::interrupt, due - System.nanoTime(), TimeUnit.NANOSECONDS);
      try {
        work.run();
      } finally {
        end.cancel(false);
        worker(null);
        Thread.interrupted();
      }
    }

    private synchronized void worker(Thread thread) {
      worker = thread;
    }

    private synchronized void interrupt() {
      if (worker != null) {
        worker.interrupt();
      }
    }
  }
}
