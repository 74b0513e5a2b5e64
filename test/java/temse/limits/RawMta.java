package temse.limits;

import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.net.SocketAddress;
import java.net.StandardProtocolFamily;
import java.net.StandardSocketOptions;
import java.net.UnixDomainSocketAddress;
import java.nio.ByteBuffer;
import java.nio.channels.SelectionKey;
import java.nio.channels.Selector;
import java.nio.channels.SocketChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import temse.protocol.Offer;
import temse.protocol.Packet;
import temse.protocol.PacketDecoder;

/**
 * An MTA without manners: it sends the packets it is told to, whole or in part, whether it reads
 * what comes back or not. No wait lasts longer than 30 seconds.
 */
public final class RawMta implements AutoCloseable {
  private static final long PATIENCE_MILLIS = 30_000;

  private final SocketChannel channel;
  private final Selector selector;
  private final SelectionKey key;
  private final PacketDecoder decoder = new PacketDecoder(1 << 20);
  private final ByteBuffer input = ByteBuffer.allocate(128 * 1024).limit(0);

  private RawMta(SocketAddress address, String from) throws IOException {
    boolean unix = address instanceof UnixDomainSocketAddress;
    channel = unix ? SocketChannel.open(StandardProtocolFamily.UNIX) : SocketChannel.open();
    if (from != null) {
      channel.bind(new InetSocketAddress(from, 0));
    }
    if (!unix) {
      channel.setOption(StandardSocketOptions.TCP_NODELAY, true);
    }
    channel.connect(address);
    channel.configureBlocking(false);
    selector = Selector.open();
    key = channel.register(selector, 0);
  }

  /** Connects to a port of 127.0.0.1. */
  public static RawMta connect(int port) throws IOException {
    return connect(port, null);
  }

  /** Connects to a port of 127.0.0.1 from an address of this machine. */
  public static RawMta connect(int port, String from) throws IOException {
    return new RawMta(new InetSocketAddress("127.0.0.1", port), from);
  }

  /** Connects to a Unix-domain socket. */
  public static RawMta connect(Path path) throws IOException {
    return new RawMta(UnixDomainSocketAddress.of(path), null);
  }

  /** Offers everything, and reads the answer. */
  public RawMta negotiate() throws IOException {
    sendBytes(Offer.CURRENT.packet().toBytes());
    Packet answer = read();
    if (answer == null || answer.code() != 'O') {
      throw new IOException("the offer was answered by " + answer);
    }
    return this;
  }

  /** Sends a packet; each character of the payload is one byte. */
  public RawMta send(char code, String payload) throws IOException {
    return sendBytes(packet(code, payload));
  }

  /** Returns a packet; each character of the payload is one byte. */
  public static byte[] packet(char code, String payload) {
    return new Packet((byte) code, payload.getBytes(StandardCharsets.ISO_8859_1)).toBytes();
  }

  /** Returns the packets of a message up to the end of its body. */
  public static byte[] message(String sender) {
    ByteArrayOutputStream packets = new ByteArrayOutputStream();
    packets.writeBytes(packet('M', sender + "\0"));
    packets.writeBytes(packet('R', "<b@example.com>\0"));
    packets.writeBytes(packet('L', "Subject\0hello\0"));
    packets.writeBytes(packet('N', ""));
    packets.writeBytes(packet('B', "text\r\n"));
    return packets.toByteArray();
  }

  /** Sends a whole message, all packets at once; nothing is read. */
  public RawMta sendMessage(String sender) throws IOException {
    return sendBytes(message(sender)).send('E', "");
  }

  /** Sends bytes, which need not be whole packets. */
  public RawMta sendBytes(byte[] bytes) throws IOException {
    ByteBuffer output = ByteBuffer.wrap(bytes);
    while (output.hasRemaining()) {
      if (channel.write(output) == 0) {
        await(SelectionKey.OP_WRITE, "the milter takes nothing");
      }
    }
    return this;
  }

  /** Sends as many of the bytes as the milter takes now; returns how many. */
  public int trySend(ByteBuffer bytes) throws IOException {
    return channel.write(bytes);
  }

  /** Returns the next packet, or null if the milter has closed the connection. */
  public Packet read() throws IOException {
    while (true) {
      Packet packet = decoder.next(input);
      if (packet != null) {
        return packet;
      }
      input.clear();
      int count;
      try {
        count = channel.read(input);
      } catch (IOException reset) {
        count = -1;
      }
      input.flip();
      if (count < 0) {
        return null;
      }
      if (count == 0) {
        await(SelectionKey.OP_READ, "the milter says nothing");
      }
    }
  }

  /** Returns the codes of the next packets, as many as asked for, or up to the end. */
  public String readCodes(int count) throws IOException {
    StringBuilder codes = new StringBuilder();
    while (codes.length() < count) {
      Packet packet = read();
      if (packet == null) {
        return codes.toString();
      }
      codes.append((char) packet.code());
    }
    return codes.toString();
  }

  /**
   * Returns the code of the next packet that is neither progress nor continue nor a part of a body.
   */
  public char readVerdict() throws IOException {
    while (true) {
      String code = readCodes(1);
      if (code.isEmpty()) {
        throw new IOException("the milter has closed the connection");
      }
      if ("pcb".indexOf(code.charAt(0)) < 0) {
        return code.charAt(0);
      }
    }
  }

  /** Returns true when the milter has closed the connection; what it sends before is dropped. */
  public boolean awaitClose() throws IOException {
    while (read() != null) {
      // Only the end matters.
    }
    return true;
  }

  /** Returns true if the milter has closed the connection by now. */
  public boolean isClosed() {
    input.compact();
    try {
      return channel.read(input) < 0;
    } catch (IOException reset) {
      return true;
    } finally {
      input.flip();
    }
  }

  /** Says that nothing more will be sent. */
  public void halfClose() throws IOException {
    channel.shutdownOutput();
  }

  /** Breaks a TCP connection off. */
  public void reset() throws IOException {
    channel.setOption(StandardSocketOptions.SO_LINGER, 0);
    close();
  }

  @Override
  public void close() throws IOException {
    selector.close();
    channel.close();
  }

  private void await(int operation, String otherwise) throws IOException {
    key.interestOps(operation);
    if (selector.select(PATIENCE_MILLIS) == 0) {
      throw new IOException(otherwise);
    }
    selector.selectedKeys().clear();
  }
}
