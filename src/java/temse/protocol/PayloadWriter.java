package temse.protocol;

import java.io.ByteArrayOutputStream;

/** Writes the fields of a payload. */
final class PayloadWriter {
  private final ByteArrayOutputStream bytes = new ByteArrayOutputStream(64);

  PayloadWriter writeByte(int value) {
    bytes.write(value);
    return this;
  }

  PayloadWriter writeShort(int value) {
    bytes.write(value >>> 8);
    bytes.write(value);
    return this;
  }

  PayloadWriter writeInt(int value) {
    return writeShort(value >>> 16).writeShort(value);
  }

  PayloadWriter writeString(String string) {
    byte[] encoded = Text.encode(string);
    bytes.write(encoded, 0, encoded.length);
    bytes.write(0);
    return this;
  }

  PayloadWriter writeBytes(byte[] more) {
    bytes.write(more, 0, more.length);
    return this;
  }

  byte[] toByteArray() {
    return bytes.toByteArray();
  }
}
