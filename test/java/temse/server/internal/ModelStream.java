package temse.server.internal;

import java.io.IOException;
import java.io.InputStream;

/** A new body that fails at random, and knows whether it was closed. */
final class ModelStream extends InputStream {
  private final Chaos chaos;
  private final ModelLink link;
  private int left;
  private boolean closed;

  /** Whether the library was given it, so that it must be closed. */
  volatile boolean given;

  ModelStream(Chaos chaos, ModelLink link, int size) {
    this.chaos = chaos;
    this.link = link;
    this.left = size;
  }

  boolean isLeaked() {
    return given && !closed;
  }

  @Override
  public int read() throws IOException {
    byte[] one = new byte[1];
    return read(one, 0, 1) < 0 ? -1 : one[0];
  }

  @Override
  public int read(byte[] bytes, int offset, int length) throws IOException {
    chaos.check(!closed, "a closed stream is not read");
    chaos.check(link.isInside(), "a stream is read between enter and leave");
    chaos.maybeThrow();
    if (left == 0) {
      return -1;
    }
    int read = Math.min(left, Math.min(length, 1 + chaos.random.nextInt(40_000)));
    left -= read;
    return read;
  }

  @Override
  public void close() throws IOException {
    closed = true;
    chaos.maybeThrow();
  }
}
