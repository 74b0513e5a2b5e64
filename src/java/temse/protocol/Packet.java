package temse.protocol;

/**
 * One frame of the wire: a command or reply byte and its payload.
 *
 * @param code the command or reply byte
 * @param payload the bytes after it; not copied, not to be changed
 */
public record Packet(byte code, byte[] payload) {
  private static final byte[] EMPTY = {};

  /**
   * Makes a packet without payload.
   *
   * @param code the command of an MTA or the reply of a milter, such as {@code 'c'}
   */
  public Packet(char code) {
    this((byte) code, EMPTY);
  }

  /** {@return the frame as it travels: length, code, payload} */
  public byte[] toBytes() {
    byte[] frame = new byte[5 + payload.length];
    int length = 1 + payload.length;
    frame[0] = (byte) (length >>> 24);
    frame[1] = (byte) (length >>> 16);
    frame[2] = (byte) (length >>> 8);
    frame[3] = (byte) length;
    frame[4] = code;
    System.arraycopy(payload, 0, frame, 5, payload.length);
    return frame;
  }

  /**
   * Appends the frame to the output, whole or not at all.
   *
   * @param output takes the frame
   */
  public void writeTo(Output output) {
    write(code, payload, payload.length, output);
  }

  /** Appends the frame of a payload, the first bytes of an array, whole or not at all. */
  static void write(byte code, byte[] payload, int length, Output output) {
    int start = output.size();
    try {
      output.putInt(1 + length).putByte(code).put(payload, 0, length);
    } catch (Throwable e) {
      output.truncate(start);
      throw e;
    }
  }

  /** {@return the code as a character and the payload's size} */
  @Override
  public String toString() {
    return "Packet " + (char) (code & 0xFF) + " of " + payload.length + " bytes";
  }
}
