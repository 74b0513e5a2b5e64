package temse.protocol;

import java.util.Locale;

/** Reads the fields of a payload and never past its end. */
final class PayloadReader {
  private final byte[] bytes;
  private final byte code;
  private int position;

  PayloadReader(Packet packet) {
    this.bytes = packet.payload();
    this.code = packet.code();
  }

  boolean hasRemaining() {
    return position < bytes.length;
  }

  int remaining() {
    return bytes.length - position;
  }

  int readByte(String what) {
    need(1, what);
    return bytes[position++] & 0xFF;
  }

  int readShort(String what) {
    need(2, what);
    return readByte(what) << 8 | readByte(what);
  }

  int readInt(String what) {
    need(4, what);
    return readShort(what) << 16 | readShort(what);
  }

  /** Reads a string up to its NUL. */
  String readString(String what) {
    int end = stringEnd(what);
    String string = Text.decode(bytes, position, end);
    position = end + 1;
    return string;
  }

  /** Reads a string up to its NUL that is likely to come again. */
  String readName(String what) {
    int end = stringEnd(what);
    String name = RecurringNames.decode(bytes, position, end);
    position = end + 1;
    return name;
  }

  /** Reads a string that the payload's last byte must terminate; it may hold no other NUL. */
  String readLastString(String what) {
    int last = bytes.length - 1;
    if (last >= position && bytes[last] == 0) {
      String string = Text.decode(bytes, position, last);
      if (string.indexOf(0) < 0) {
        position = bytes.length;
        return string;
      }
    }
    readString(what);
    throw malformed("there are bytes after " + what);
  }

  /** Reads a string up to its NUL or the end of the payload. */
  String readLenientString() {
    int end = terminator(position);
    int stop = end < 0 ? bytes.length : end;
    String string = Text.decode(bytes, position, stop);
    position = Math.min(stop + 1, bytes.length);
    return string;
  }

  private int stringEnd(String what) {
    int end = terminator(position);
    if (end < 0) {
      throw malformed(what + " has no terminating NUL");
    }
    return end;
  }

  private int terminator(int from) {
    for (int i = from; i < bytes.length; i++) {
      if (bytes[i] == 0) {
        return i;
      }
    }
    return -1;
  }

  private void need(int count, String what) {
    if (remaining() < count) {
      throw malformed(what + " is missing");
    }
  }

  MilterException malformed(String problem) {
    char character = (char) (code & 0xFF);
    boolean shown = character > ' ' && character < 0x7F;
    String command =
        shown ? "'" + character + "'" : String.format(Locale.ROOT, "0x%02x", (int) character);
    return new MilterException(
        MilterException.Category.MALFORMED_PACKET,
        "malformed packet " + command + ": " + problem + " (at byte " + position + ")",
        "command",
        character,
        "offset",
        (long) position);
  }
}
