package temse.protocol;

import java.nio.ByteBuffer;
import java.util.Arrays;
import org.jspecify.annotations.Nullable;

/**
 * Cuts a stream of bytes into packets, however the transport has split or merged them.
 *
 * <p>Memory follows the bytes that have arrived, at most twice as many, never the length that was
 * announced; what an unfinished packet holds is taken from a {@link Budget}. MTAs repeat the same
 * macro packet before every header field; a repeated packet of usual size is returned as the
 * identical object.
 *
 * <pre>{@code
 * PacketDecoder decoder = new PacketDecoder(65535);
 * for (Packet p = decoder.next(input); p != null; p = decoder.next(input)) { ... }
 * }</pre>
 */
public final class PacketDecoder {
  private static final int PREFIX = 5;

  /** Macros that are sent again and again are small; larger ones are not kept. */
  private static final int LARGEST_KEPT = 4096;

  private static final byte[] EMPTY = {};

  private final int maximumPayload;
  private final Budget budget;
  private long prefix;
  private int prefixBytes;
  private byte[] payload = EMPTY;
  private int payloadBytes;
  private int payloadLength;
  private long held;
  private Packet macros;
  private long macroPrefix;
  private ByteBuffer macroPayload;

  /**
   * Makes a decoder that refuses payloads of more than this many bytes.
   *
   * @param maximumPayload in bytes
   */
  public PacketDecoder(int maximumPayload) {
    this(maximumPayload, new Budget(Long.MAX_VALUE));
  }

  /**
   * Makes a decoder that refuses payloads of more than this many bytes, and takes the memory of an
   * unfinished packet from the budget until the packet is complete or released.
   *
   * @param maximumPayload in bytes
   * @param unfinished shared with other decoders
   */
  public PacketDecoder(int maximumPayload, Budget unfinished) {
    this.maximumPayload = maximumPayload;
    this.budget = unfinished;
  }

  /**
   * {@return the next packet, or null when {@code input} is used up; what belongs to an unfinished
   * packet is kept}
   *
   * @param input bytes as they came, in pieces of any size
   * @throws MilterException MALFORMED_PACKET for a length of 0, PACKET_TOO_LARGE for one over the
   *     limit, LIMIT_EXCEEDED if the budget lacks the memory for an unfinished packet, whose memory
   *     is given back; the stream cannot be read on after that
   */
  public @Nullable Packet next(ByteBuffer input) {
    if (prefixBytes == 0 && input.remaining() >= PREFIX) {
      prefix = (input.getInt() & 0xFFFFFFFFL) << 8 | input.get() & 0xFF;
      prefixBytes = PREFIX;
      payloadLength = checkedPayloadLength(prefix >>> 8);
    }
    while (prefixBytes < PREFIX) {
      if (!input.hasRemaining()) {
        return null;
      }
      prefix = prefix << 8 | input.get() & 0xFF;
      prefixBytes++;
      if (prefixBytes == 4) {
        payloadLength = checkedPayloadLength(prefix);
      }
    }
    if (payloadBytes == 0 && input.remaining() >= payloadLength) {
      if (prefix == macroPrefix && repeatsMacros(input)) {
        input.position(input.position() + payloadLength);
        forget();
        return macros;
      }
      byte[] whole = payloadLength == 0 ? EMPTY : new byte[payloadLength];
      input.get(whole);
      return packet(whole);
    }
    return continued(input);
  }

  /** Drops the unfinished packet, if there is one, and gives its memory back. */
  public void release() {
    forget();
  }

  /** {@return true if part of a packet has arrived and the rest is missing} */
  public boolean midPacket() {
    return prefixBytes > 0;
  }

  private int checkedPayloadLength(long length) {
    if (length == 0) {
      throw new MilterException(
          MilterException.Category.MALFORMED_PACKET,
          "a packet announces length 0, but its command byte counts: at least 1");
    }
    if (length - 1 > maximumPayload) {
      throw new MilterException(
          MilterException.Category.PACKET_TOO_LARGE,
          "a packet announces " + (length - 1) + " bytes, the limit is " + maximumPayload,
          "length",
          length - 1,
          "limit",
          (long) maximumPayload);
    }
    return (int) length - 1;
  }

  private Packet continued(ByteBuffer input) {
    int taken = Math.min(input.remaining(), payloadLength - payloadBytes);
    if (payload.length < payloadBytes + taken) {
      int capacity = (int) Math.min(2L * (payloadBytes + taken), payloadLength);
      take(capacity - payload.length);
      payload = Arrays.copyOf(payload, capacity);
    }
    input.get(payload, payloadBytes, taken);
    payloadBytes += taken;
    if (payloadBytes < payloadLength) {
      return null;
    }
    return packet(payload);
  }

  private void take(int octets) {
    if (!budget.tryTake(octets)) {
      release();
      throw new MilterException(
          MilterException.Category.LIMIT_EXCEEDED,
          "unfinished packets may hold "
              + budget.limit()
              + " bytes together (:max-unfinished-bytes), and this one does not fit any more",
          "limit",
          budget.limit());
    }
    held += octets;
  }

  private boolean repeatsMacros(ByteBuffer input) {
    int limit = input.limit();
    input.limit(input.position() + payloadLength);
    boolean repeats = input.equals(macroPayload);
    input.limit(limit);
    return repeats;
  }

  private Packet packet(byte[] whole) {
    Packet packet = new Packet((byte) prefix, whole);
    if (packet.code() == EventType.DEFINE_MACRO.code && whole.length <= LARGEST_KEPT) {
      macros = packet;
      macroPrefix = prefix;
      macroPayload = ByteBuffer.wrap(whole);
    }
    forget();
    return packet;
  }

  private void forget() {
    prefix = 0;
    prefixBytes = 0;
    payload = EMPTY;
    payloadBytes = 0;
    if (held > 0) {
      budget.give(held);
      held = 0;
    }
  }
}
