package temse.protocol;

import clojure.lang.AFn;
import clojure.lang.EdnReader;
import clojure.lang.IMapEntry;
import clojure.lang.IPersistentMap;
import clojure.lang.Keyword;
import clojure.lang.PersistentVector;
import clojure.lang.RT;
import clojure.lang.Symbol;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.PushbackReader;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.HexFormat;
import java.util.List;

/** Golden bytes and what tests do with them. */
final class Wire {
  /** A limit that leaves room for every packet of the tests. */
  static final int LIMIT = 2 * 1024 * 1024;

  private static final HexFormat HEX = HexFormat.ofDelimiter(" ").withUpperCase();

  private Wire() {}

  /** Returns the cases of a file of {@code test/resources/wire}. */
  @SuppressWarnings("unchecked")
  static List<IPersistentMap> cases(String file) {
    AFn bytes =
        new AFn() {
          @Override
          public Object invoke(Object hex) {
            return bytes((String) hex);
          }
        };
    Object options =
        RT.map(Keyword.intern("readers"), RT.map(Symbol.intern("wire", "bytes"), bytes));
    try (PushbackReader reader =
        new PushbackReader(
            new InputStreamReader(
                Wire.class.getResourceAsStream("/wire/" + file), StandardCharsets.UTF_8))) {
      return (List<IPersistentMap>) EdnReader.read(reader, (IPersistentMap) options);
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  static byte[] bytes(String hex) {
    return hex.isEmpty() ? new byte[0] : HEX.parseHex(hex);
  }

  static String hex(byte[] bytes) {
    return HEX.formatHex(bytes);
  }

  /** Returns all packets of the bytes, which must end where a packet ends. */
  static List<Packet> packets(byte[] bytes) {
    PacketDecoder decoder = new PacketDecoder(LIMIT);
    ByteBuffer input = ByteBuffer.wrap(bytes);
    List<Packet> packets = new ArrayList<>();
    for (Packet packet = decoder.next(input); packet != null; packet = decoder.next(input)) {
      packets.add(packet);
    }
    if (decoder.midPacket()) {
      throw new IllegalArgumentException("the bytes end inside a packet");
    }
    return packets;
  }

  /** Returns the one packet of the bytes. */
  static Packet packet(String hex) {
    List<Packet> packets = packets(bytes(hex));
    if (packets.size() != 1) {
      throw new IllegalArgumentException(packets.size() + " packets instead of one: " + hex);
    }
    return packets.get(0);
  }

  /** Returns a packet of the code, whose payload is one char per byte. */
  static Packet packet(char code, String payload) {
    return new Packet((byte) code, payload.getBytes(StandardCharsets.ISO_8859_1));
  }

  /** Returns the map with its byte arrays as vectors, which equal each other. */
  static IPersistentMap comparable(IPersistentMap map) {
    IPersistentMap comparable = map;
    for (Object entry : map) {
      if (((IMapEntry) entry).val() instanceof byte[] bytes) {
        List<Byte> list = new ArrayList<>(bytes.length);
        for (byte b : bytes) {
          list.add(b);
        }
        comparable =
            comparable.assoc(
                ((IMapEntry) entry).key(), PersistentVector.create((Iterable<?>) list));
      }
    }
    return comparable;
  }

  /** Returns a map of the given keyword names and values, in turn. */
  static IPersistentMap map(Object... namesAndValues) {
    Object[] entries = namesAndValues.clone();
    for (int i = 0; i < entries.length; i += 2) {
      entries[i] = Keyword.intern((String) entries[i]);
    }
    return RT.map(entries);
  }

  static Keyword key(String name) {
    return Keyword.intern(name);
  }
}
