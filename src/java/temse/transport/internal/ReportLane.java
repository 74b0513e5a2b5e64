package temse.transport.internal;

import java.util.ArrayDeque;
import java.util.Queue;

/**
 * Reports that belong to no connection, while the listener is suspected to block: one spare thread
 * makes them one after the other. Any thread.
 */
final class ReportLane {
  /** How many reports may wait; more are dropped. */
  static final int MOST = 1000;

  private final Spares spares;
  private final Suspicion suspicion;
  private final Queue<Runnable> waiting = new ArrayDeque<>();
  private boolean running;
  private long dropped;

  ReportLane(Spares spares, Suspicion suspicion) {
    this.spares = spares;
    this.suspicion = suspicion;
  }

  /** Has a report made soon, or drops it if too many wait. */
  void add(Runnable report) {
    synchronized (this) {
      if (waiting.size() == MOST) {
        dropped++;
        return;
      }
      waiting.add(report);
      if (running) {
        return;
      }
      running = true;
    }
    boolean lent = false;
    try {
      lent = spares.lend(this::makeAll);
    } finally {
      if (!lent) {
        giveUp();
      }
    }
  }

  private void makeAll() {
    for (Runnable report; (report = next()) != null; ) {
      long start = System.nanoTime();
      report.run();
      Thread.interrupted();
      suspicion.ran(Suspicion.REPORTS, System.nanoTime() - start);
    }
  }

  private synchronized Runnable next() {
    Runnable report = waiting.poll();
    running = report != null;
    return report;
  }

  private synchronized void giveUp() {
    dropped += waiting.size();
    waiting.clear();
    running = false;
  }

  synchronized long dropped() {
    return dropped;
  }
}
