package temse.bench;

import java.io.IOException;
import java.net.InetSocketAddress;
import java.net.SocketAddress;
import java.net.StandardProtocolFamily;
import java.net.StandardSocketOptions;
import java.net.UnixDomainSocketAddress;
import java.nio.ByteBuffer;
import java.nio.channels.SelectionKey;
import java.nio.channels.Selector;
import java.nio.channels.ServerSocketChannel;
import java.nio.channels.SocketChannel;
import java.nio.charset.StandardCharsets;

/**
 * The floor: one selector loop that finds the ends of packets, counts header fields and bytes of
 * the body, and adds X-Seen. It decodes nothing and can do nothing else. With the argument {@code
 * silent} it has the MTA wait for a reply at the end of a message only.
 */
final class NullServer {
  private static final int BACKLOG = 1024;
  private static final int PREFIX = 5;

  /**
   * The SMFIP_NR_* bits of all events but the end of message, and SMFIP_NODATA, _NOEOH, _NOUNKNOWN.
   */
  private static final int SILENT = 0xFF080 | 0x340;

  private static final byte[] CONTINUE = {0, 0, 0, 1, 'c'};

  private final ByteBuffer input = ByteBuffer.allocateDirect(256 * 1024);
  private final ByteBuffer output = ByteBuffer.allocateDirect(64 * 1024);
  private final boolean silent;

  private NullServer(boolean silent) {
    this.silent = silent;
  }

  /** Serves {@code inet:PORT@127.0.0.1} or {@code unix:PATH}, the last argument. */
  public static void main(String[] args) throws IOException {
    String[] address = args[args.length - 1].split("[:@]");
    new NullServer(args[0].equals("silent"))
        .serve(
            address[0].equals("unix")
                ? UnixDomainSocketAddress.of(address[1])
                : new InetSocketAddress(address[2], Integer.parseInt(address[1])));
  }

  private void serve(SocketAddress address) throws IOException {
    Selector selector = Selector.open();
    ServerSocketChannel acceptor =
        address instanceof UnixDomainSocketAddress
            ? ServerSocketChannel.open(StandardProtocolFamily.UNIX)
            : ServerSocketChannel.open();
    acceptor.bind(address, BACKLOG).configureBlocking(false);
    acceptor.register(selector, SelectionKey.OP_ACCEPT);
    while (true) {
      selector.select(
          key -> {
            try {
              if (key.isAcceptable()) {
                accept(acceptor, selector);
              } else {
                read((SocketChannel) key.channel(), (Conversation) key.attachment());
              }
            } catch (IOException e) {
              close(key);
            }
          });
    }
  }

  private void accept(ServerSocketChannel acceptor, Selector selector) throws IOException {
    for (SocketChannel channel; (channel = acceptor.accept()) != null; ) {
      channel.configureBlocking(false);
      if (channel.supportedOptions().contains(StandardSocketOptions.TCP_NODELAY)) {
        channel.setOption(StandardSocketOptions.TCP_NODELAY, true);
      }
      channel.register(selector, SelectionKey.OP_READ, new Conversation());
    }
  }

  private void read(SocketChannel channel, Conversation conversation) throws IOException {
    if (channel.read(input.clear()) < 0) {
      channel.close();
      return;
    }
    input.flip();
    output.clear();
    conversation.take();
    if (output.flip().hasRemaining()) {
      channel.write(output);
    }
  }

  private static void close(SelectionKey key) {
    try {
      key.channel().close();
    } catch (IOException e) {
      key.cancel();
    }
  }

  private final class Conversation {
    private long prefix;
    private int prefixBytes;
    private int left;
    private long headers;
    private long bytes;

    void take() {
      while (input.hasRemaining()) {
        if (prefixBytes < PREFIX) {
          prefix = prefix << 8 | input.get() & 0xFF;
          prefixBytes++;
          left = (int) (prefix >>> 8) - 1;
        }
        if (prefixBytes == PREFIX) {
          int taken = Math.min(left, input.remaining());
          input.position(input.position() + taken);
          left -= taken;
          if (left == 0) {
            answer((int) prefix & 0xFF, (int) (prefix >>> 8) - 1);
            prefix = 0;
            prefixBytes = 0;
          }
        }
      }
    }

    private void answer(int command, int length) {
      switch (command) {
        case 'O' ->
            output.putInt(13).put((byte) 'O').putInt(6).putInt(1).putInt(silent ? SILENT : 0);
        case 'D', 'A', 'Q', 'K' -> {}
        case 'E' -> {
          byte[] field =
              ("X-Seen\0" + headers + " " + bytes + "\0").getBytes(StandardCharsets.US_ASCII);
          output.putInt(1 + field.length).put((byte) 'h').put(field).put(CONTINUE);
        }
        default -> {
          count(command, length);
          if (!silent) {
            output.put(CONTINUE);
          }
        }
      }
    }

    private void count(int command, int length) {
      switch (command) {
        case 'M' -> {
          headers = 0;
          bytes = 0;
        }
        case 'L' -> headers++;
        case 'B' -> bytes += length;
        default -> {}
      }
    }
  }
}
