package temse.fuzz;

import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import temse.protocol.Packet;

/**
 * Conversations as text, which mutates better than lengths do and can be read: a packet a line, its
 * code first. A bar is a NUL; behind a backslash n is the end of a line, p a bar, and everything
 * else itself.
 */
public final class PacketLines {
  private PacketLines() {}

  /**
   * Takes a text apart.
   *
   * @param text any bytes
   * @return its lines, a character for each byte
   */
  public static List<String> of(byte[] text) {
    List<String> lines = new ArrayList<>();
    StringBuilder line = new StringBuilder();
    for (int i = 0; i < text.length; i++) {
      char c = (char) (text[i] & 0xFF);
      if (c == '\n') {
        lines.add(line.toString());
        line.setLength(0);
      } else if (c == '\\' && i + 1 < text.length) {
        line.append(escaped((char) (text[++i] & 0xFF)));
      } else {
        line.append(c == '|' ? '\0' : c);
      }
    }
    lines.add(line.toString());
    return lines;
  }

  private static char escaped(char c) {
    return c == 'n' ? '\n' : c == 'p' ? '|' : c;
  }

  /**
   * Makes a packet of a line.
   *
   * @param line not empty
   * @return the packet
   */
  public static Packet packet(String line) {
    return new Packet(
        (byte) line.charAt(0), line.substring(1).getBytes(StandardCharsets.ISO_8859_1));
  }
}
