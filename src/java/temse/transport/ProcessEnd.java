package temse.transport;

import java.io.FileDescriptor;
import java.io.FileOutputStream;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.util.function.Consumer;

/**
 * Ends the process because a loop cannot go on, with a line on the standard error and a code of its
 * own. For the usual cause, memory, all is prepared. A standard error that nobody reads holds it up
 * for a second at most.
 */
final class ProcessEnd implements Consumer<Throwable> {
  /** The exit code: an internal software error, as in sysexits.h. */
  static final int CODE = 70;

  private static final long PATIENCE_MILLIS = 1000;

  private final String server;
  private final byte[] outOfMemory;

  ProcessEnd(String server) {
    this.server = server;
    this.outOfMemory = line(OutOfMemoryError.class.getName());
  }

  @Override
  public void accept(Throwable problem) {
    try {
      printInTime(problem);
    } finally {
      Runtime.getRuntime().halt(CODE);
    }
  }

  private void printInTime(Throwable problem) {
    try {
      Thread printer = new Thread(() -> print(problem));
      printer.setDaemon(true);
      printer.start();
      printer.join(PATIENCE_MILLIS);
    } catch (OutOfMemoryError noThread) {
      print(problem);
    } catch (InterruptedException hurry) {
      // The end comes all the same.
    }
  }

  private void print(Throwable problem) {
    try (FileOutputStream error = new FileOutputStream(FileDescriptor.err)) {
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
