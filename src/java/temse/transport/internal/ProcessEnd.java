package temse.transport.internal;

import java.io.FileDescriptor;
import java.io.FileOutputStream;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.util.function.Consumer;

/**
 * Ends the process because a thread that mail depends on cannot go on: with a line on the standard
 * error and a code of its own. A standard error that nobody reads holds it up for a second at most.
 *
 * <p>The usual cause is that there is no memory, so what is needed then is made beforehand.
 */
public final class ProcessEnd implements Consumer<Throwable>, Runnable {
  /** The exit code: an internal software error, as in sysexits.h. */
  static final int CODE = 70;

  private static final long PATIENCE_MILLIS = 1000;

  private final FileOutputStream error = new FileOutputStream(FileDescriptor.err);
  private final String server;
  private final byte[] outOfMemory;
  private volatile Throwable problem;

  /**
   * Makes one for a server of this name.
   *
   * @param server as in the names of its threads
   */
  public ProcessEnd(String server) {
    this.server = server;
    this.outOfMemory = line(OutOfMemoryError.class.getName());
    load("java.lang.Shutdown");
  }

  private static void load(String name) {
    try {
      Class.forName(name);
    } catch (ClassNotFoundException e) {
      // This JDK ends without it.
    }
  }

  @Override
  public void accept(Throwable problem) {
    this.problem = problem;
    try {
      printInTime();
    } finally {
      Runtime.getRuntime().halt(CODE);
    }
  }

  private void printInTime() {
    try {
      Thread printer = new Thread(this);
      printer.setDaemon(true);
      printer.start();
      printer.join(PATIENCE_MILLIS);
    } catch (OutOfMemoryError noThread) {
      run();
    } catch (InterruptedException hurry) {
      // The end comes all the same.
    }
  }

  /** Prints the line. */
  @Override
  public void run() {
    try {
      error.write(
          problem instanceof OutOfMemoryError ? outOfMemory : line(problem.getClass().getName()));
    } catch (IOException nobodyReads) {
      // The code says it.
    }
  }

  private byte[] line(String problem) {
    String text = server + ": a thread that mail depends on cannot go on: " + problem + "; exit\n";
    return text.getBytes(StandardCharsets.UTF_8);
  }
}
