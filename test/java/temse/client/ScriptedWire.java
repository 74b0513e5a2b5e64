package temse.client;

import java.io.IOException;
import java.net.SocketTimeoutException;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Deque;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import temse.protocol.Packet;
import temse.protocol.PacketDecoder;

/**
 * A milter of written packets: keeps what the MTA sends and answers each packet by its code.
 *
 * <p>Packets are text: the code, then the payload with a bar for each NUL.
 */
final class ScriptedWire implements Wire {
  /** In place of a packet: the milter closes the connection. */
  static final String CLOSES = "";

  private final PacketDecoder decoder = new PacketDecoder(1 << 24);
  private final Map<Character, Deque<List<String>>> script = new HashMap<>();
  private final Deque<String> replies = new ArrayDeque<>();
  private final List<String> written = new ArrayList<>();
  private boolean closed;

  /** Makes a milter that answers the offer with the packet. */
  ScriptedWire(String answer) {
    on('O', answer);
  }

  ScriptedWire(int version, int actions, int protocol) {
    this(options(version, actions, protocol));
  }

  ScriptedWire() {
    this(6, 0x1FF, 0);
  }

  static String options(int version, int actions, int protocol) {
    ByteBuffer payload = ByteBuffer.allocate(12).putInt(version).putInt(actions).putInt(protocol);
    return "O" + new String(payload.array(), StandardCharsets.ISO_8859_1);
  }

  /** Answers the packets of the code, one call for each, instead of with continue. */
  ScriptedWire on(char code, String... answer) {
    script.computeIfAbsent(code, unused -> new ArrayDeque<>()).add(List.of(answer));
    return this;
  }

  /** Returns what the MTA has sent since the last call. */
  List<String> written() {
    List<String> packets = List.copyOf(written);
    written.clear();
    return packets;
  }

  /** Returns the same without macros. */
  List<String> commands() {
    return written().stream().filter(packet -> packet.charAt(0) != 'D').toList();
  }

  boolean isClosed() {
    return closed;
  }

  @Override
  public void write(byte[] bytes) throws IOException {
    if (closed) {
      throw new IOException("closed");
    }
    ByteBuffer input = ByteBuffer.wrap(bytes);
    for (Packet packet = decoder.next(input); packet != null; packet = decoder.next(input)) {
      char code = (char) packet.code();
      String payload = new String(packet.payload(), StandardCharsets.ISO_8859_1);
      written.add(code + payload.replace('\0', '|'));
      Deque<List<String>> answers = script.getOrDefault(code, new ArrayDeque<>());
      if (!answers.isEmpty()) {
        replies.addAll(answers.poll());
      } else if ("CHMRTLNBEU".indexOf(code) >= 0) {
        replies.add("c");
      }
    }
  }

  @Override
  public Packet read(Duration timeout) throws IOException {
    String reply = replies.poll();
    if (reply == null) {
      throw new SocketTimeoutException("no reply");
    }
    if (reply.equals(CLOSES)) {
      return null;
    }
    byte[] text = reply.replace('|', '\0').getBytes(StandardCharsets.ISO_8859_1);
    byte[] payload = new byte[text.length - 1];
    System.arraycopy(text, 1, payload, 0, payload.length);
    return new Packet(text[0], payload);
  }

  @Override
  public boolean hasPacket() {
    return !replies.isEmpty();
  }

  @Override
  public void close() {
    closed = true;
  }
}
