package temse.protocol;

/** Takes packets that are being encoded, one after the other. */
@FunctionalInterface
public interface PacketSink {
  /** Takes a packet whose payload is the part of {@code bytes}; copies what it keeps. */
  void packet(byte code, byte[] bytes, int offset, int length);
}
