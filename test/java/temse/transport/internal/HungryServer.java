package temse.transport.internal;

import java.io.FileDescriptor;
import java.io.FileOutputStream;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.util.List;
import temse.transport.Endpoint;
import temse.transport.TransportOptions;

/**
 * A server, in a process of its own, of conversations that need all memory and keep it. Prints its
 * port. Arguments: {@code memory} or {@code internal}, what goes wrong; {@code clogged} if nobody
 * reads what it writes on the standard error.
 */
final class HungryServer {
  static Object[] hoard;

  private HungryServer() {}

  public static void main(String[] args) throws IOException {
    List<String> arguments = List.of(args);
    SocketServer server =
        SocketServer.start(
            List.of(Endpoint.parse("0")),
            TransportOptions.builder().name("hungry").loops(1).build(),
            link -> new Hungry(arguments.contains("internal")),
            new TransportListener() {});
    if (arguments.contains("clogged")) {
      Thread thread = new Thread(HungryServer::clog);
      thread.setDaemon(true);
      thread.start();
    }
    System.out.println(((Endpoint.Inet) server.endpoint()).port());
  }

  private static void clog() {
    byte[] bytes = new byte[1024];
    try (FileOutputStream error = new FileOutputStream(FileDescriptor.err)) {
      while (true) {
        error.write(bytes);
      }
    } catch (IOException e) {
      throw new IllegalStateException(e);
    }
  }

  private record Hungry(boolean internal) implements Conversation {
    @Override
    public Wish receive(ByteBuffer input, long now) {
      if (internal && input.hasRemaining()) {
        throw new InternalError("made up");
      }
      while (input.hasRemaining()) {
        hoard = new Object[] {hoard};
      }
      return Wish.READ;
    }

    @Override
    public long deadline() {
      return Long.MAX_VALUE;
    }

    @Override
    public Wish expired(long now) {
      return Wish.READ;
    }

    @Override
    public boolean acknowledgeAtOnce() {
      return false;
    }

    @Override
    public boolean idle() {
      return true;
    }

    @Override
    public Wish stopping() {
      return Wish.CLOSE;
    }

    @Override
    public void ended(End how, Throwable cause) {}
  }
}
