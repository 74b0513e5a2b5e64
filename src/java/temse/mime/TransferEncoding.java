package temse.mime;

import java.io.ByteArrayOutputStream;
import java.nio.charset.StandardCharsets;
import java.util.Base64;

/** Encodes content for its way (RFC 2045 section 6). */
final class TransferEncoding {
  private static final int LONGEST_LINE = 998;
  private static final int LONGEST_ENCODED_LINE = 76;
  private static final byte[] CR_LF = {'\r', '\n'};
  private static final byte[] DIGITS = "0123456789ABCDEF".getBytes(StandardCharsets.US_ASCII);

  private TransferEncoding() {}

  /** Returns whether content stands in a part as it is. */
  static boolean isIdentity(String encoding) {
    return encoding.equals("7bit") || encoding.equals("8bit") || encoding.equals("binary");
  }

  /** Returns whether content of this encoding can be decoded. */
  static boolean isKnown(String encoding) {
    return isIdentity(encoding) || isEncoded(encoding);
  }

  private static boolean isEncoded(String encoding) {
    return encoding.equals("base64") || encoding.equals("quoted-printable");
  }

  /** Returns the encoding for new content: the old one, if it can carry it. */
  static String choose(String old, byte[] content, boolean text, MimePart part) {
    boolean seven = true;
    boolean nul = false;
    int lineLength = 0;
    boolean lines = true;
    for (int i = 0; i < content.length; i++) {
      byte b = content[i];
      seven &= b >= 0;
      nul |= b == 0;
      if (b == '\r' || b == '\n') {
        boolean lineEnd =
            b == '\r'
                ? i + 1 < content.length && content[i + 1] == '\n'
                : i > 0 && content[i - 1] == '\r';
        lines &= lineEnd;
        lineLength = 0;
      } else {
        lines &= ++lineLength <= LONGEST_LINE;
      }
    }
    boolean boundary = holdsBoundary(content, part);
    if (old.equals("base64") || old.equals("quoted-printable") && !nul && !boundary) {
      return old;
    }
    boolean plain = lines && !nul && !boundary;
    if (plain && isIdentity(old) && (seven || !old.equals("7bit"))) {
      return old;
    }
    return text && !nul && !boundary ? "quoted-printable" : "base64";
  }

  private static boolean holdsBoundary(byte[] content, MimePart part) {
    for (int i = 0; i + 1 < content.length; i++) {
      boolean lineStart = i == 0 || content[i - 1] == '\n';
      if (lineStart && content[i] == '-' && content[i + 1] == '-') {
        int length = Math.min(content.length - i, PartScanner.LONGEST_DELIMITER);
        if (part.isEndedBy(new String(content, i, length, StandardCharsets.ISO_8859_1))) {
          return true;
        }
      }
    }
    return false;
  }

  static byte[] encode(byte[] content, String encoding) {
    return switch (encoding) {
      case "base64" -> {
        byte[] lines = Base64.getMimeEncoder(LONGEST_ENCODED_LINE, CR_LF).encode(content);
        ByteArrayOutputStream out = new ByteArrayOutputStream(lines.length + 2);
        out.writeBytes(lines);
        out.writeBytes(CR_LF);
        yield content.length == 0 ? content : out.toByteArray();
      }
      case "quoted-printable" -> quotedPrintable(content);
      default -> content;
    };
  }

  private static byte[] quotedPrintable(byte[] content) {
    ByteArrayOutputStream out = new ByteArrayOutputStream(content.length + content.length / 8);
    int column = 0;
    for (int i = 0; i < content.length; i++) {
      if (isLineEnd(content, i)) {
        out.writeBytes(CR_LF);
        i++;
        column = 0;
        continue;
      }
      boolean plain = isPlain(content, i);
      // The last column is for the equals sign of a soft line break.
      boolean broken = column + (plain ? 1 : 3) > LONGEST_ENCODED_LINE - 1;
      if (broken) {
        out.write('=');
        out.writeBytes(CR_LF);
        column = 0;
      }
      // What comes at the beginning of a line by a soft line break must not look like a boundary.
      if (plain && !(broken && content[i] == '-')) {
        out.write(content[i]);
        column++;
      } else {
        out.write('=');
        out.write(DIGITS[(content[i] & 0xFF) >> 4]);
        out.write(DIGITS[content[i] & 0xF]);
        column += 3;
      }
    }
    return out.toByteArray();
  }

  private static boolean isLineEnd(byte[] content, int i) {
    return content[i] == '\r' && i + 1 < content.length && content[i + 1] == '\n';
  }

  /** White space at the end of a line would be lost on the way. */
  private static boolean isPlain(byte[] content, int i) {
    byte b = content[i];
    if (b == ' ' || b == '\t') {
      return i + 1 < content.length && !isLineEnd(content, i + 1);
    }
    return b > ' ' && b < 0x7F && b != '=';
  }
}
