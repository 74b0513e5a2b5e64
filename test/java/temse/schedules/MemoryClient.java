package temse.schedules;

import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;

/** The client's end of a connection of a {@link Network}. It blocks where a socket would. */
public final class MemoryClient implements AutoCloseable {
  private final MemorySocket socket;

  MemoryClient(MemorySocket socket) {
    this.socket = socket;
  }

  /** Sends text, a byte per character. */
  public void send(String text) {
    send(text.getBytes(StandardCharsets.ISO_8859_1));
  }

  public void send(byte[] bytes) {
    ByteBuffer left = ByteBuffer.wrap(bytes);
    do {
      point("client sends", () -> socket.toServer.room() > 0 || socket.toClient.closed);
      if (socket.toClient.closed) {
        return;
      }
      socket.toServer.put(left);
    } while (left.hasRemaining());
  }

  /** Returns {@code length} bytes, or those that come before the end. */
  public String read(int length) {
    StringBuilder text = new StringBuilder();
    while (text.length() < length) {
      point("client reads", () -> socket.toClient.size() > 0 || socket.toClient.closed);
      ByteBuffer some = ByteBuffer.allocate(length - text.length());
      if (socket.toClient.take(some) == 0) {
        break;
      }
      text.append(new String(some.array(), 0, some.position(), StandardCharsets.ISO_8859_1));
    }
    return text.toString();
  }

  /** Returns a line without its end, or null if the connection ends before it does. */
  public String readLine() {
    StringBuilder text = new StringBuilder();
    while (true) {
      String next = read(1);
      if (next.isEmpty()) {
        return null;
      }
      if (next.equals("\n")) {
        return text.toString();
      }
      text.append(next);
    }
  }

  private void point(String where, java.util.function.BooleanSupplier condition) {
    Scheduler scheduler = Scheduler.current();
    scheduler.point(where);
    scheduler.await(condition, Long.MAX_VALUE);
  }

  @Override
  public void close() {
    Scheduler.current().point("client closes");
    socket.reset();
  }
}
