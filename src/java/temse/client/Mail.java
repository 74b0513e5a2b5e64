package temse.client;

import clojure.lang.IPersistentMap;
import clojure.lang.IPersistentVector;
import clojure.lang.PersistentArrayMap;
import clojure.lang.PersistentVector;
import java.io.ByteArrayOutputStream;
import java.util.ArrayList;
import java.util.List;
import temse.protocol.Keys;
import temse.protocol.Text;

/**
 * A mail as an MTA holds it: an envelope, header fields and a body.
 *
 * @param sender as in MAIL FROM, with angle brackets
 * @param senderParameters ESMTP parameters of MAIL FROM
 * @param recipients as in RCPT TO, with angle brackets
 * @param headers header fields in order
 * @param body with CR LF line ends
 */
public record Mail(
    String sender,
    List<String> senderParameters,
    List<String> recipients,
    List<Field> headers,
    byte[] body) {

  /**
   * A header field.
   *
   * @param name without the colon
   * @param raw all that follows the colon, folds kept as LF and white space
   */
  public record Field(String name, String raw) {
    /** Returns the value without the one space that usually follows the colon. */
    public String value() {
      return raw.startsWith(" ") ? raw.substring(1) : raw;
    }
  }

  /**
   * Reads a message in the Internet message format (RFC 5322), with LF or CR LF line ends.
   *
   * <p>Lines before the first empty one that are not header fields begin the body, as on an MTA.
   */
  public static Mail parse(String sender, List<String> recipients, byte[] message) {
    String text = Text.decode(message);
    List<Field> headers = new ArrayList<>();
    int position = 0;
    while (position < text.length()) {
      int end = text.indexOf('\n', position);
      String line = withoutCr(text.substring(position, end < 0 ? text.length() : end));
      int next = end < 0 ? text.length() : end + 1;
      boolean continued = !line.isEmpty() && " \t".indexOf(line.charAt(0)) >= 0;
      int colon = line.indexOf(':');
      if (line.isEmpty()) {
        position = next;
        break;
      } else if (continued && !headers.isEmpty()) {
        Field last = headers.remove(headers.size() - 1);
        headers.add(new Field(last.name(), last.raw() + "\n" + line));
      } else if (colon > 0 && isName(line.substring(0, colon).stripTrailing())) {
        headers.add(new Field(line.substring(0, colon).stripTrailing(), line.substring(colon + 1)));
      } else {
        break;
      }
      position = next;
    }
    return new Mail(
        sender,
        List.of(),
        recipients,
        headers,
        wireBody(Text.encodeBytes(text.substring(position))));
  }

  /** Returns true if the text may name a header field: printable ASCII without spaces. */
  private static boolean isName(String text) {
    return !text.isEmpty() && text.chars().allMatch(c -> c > ' ' && c < 0x7F);
  }

  /** Returns the body as MTAs send it: CR LF line ends, the last line ended. */
  public static byte[] wireBody(byte[] body) {
    ByteArrayOutputStream bytes = new ByteArrayOutputStream(body.length + 64);
    byte previous = '\n';
    for (byte b : body) {
      if (b == '\n' && previous != '\r') {
        bytes.write('\r');
      }
      bytes.write(b);
      previous = b;
    }
    if (previous != '\n') {
      bytes.write('\r');
      bytes.write('\n');
    }
    return bytes.toByteArray();
  }

  /** Returns the mail as a map: {@code :sender :recipients :headers :body}. */
  public IPersistentMap toMap() {
    List<IPersistentVector> fields = new ArrayList<>();
    headers.forEach(field -> fields.add(PersistentVector.create(field.name(), field.value())));
    return new PersistentArrayMap(
        new Object[] {
          Keys.SENDER, sender,
          Keys.OPTIONS, PersistentVector.create((Iterable<?>) senderParameters),
          Keys.RECIPIENTS, PersistentVector.create((Iterable<?>) recipients),
          Keys.HEADERS, PersistentVector.create((Iterable<?>) fields),
          Keys.BODY, body
        });
  }

  private static String withoutCr(String line) {
    return line.endsWith("\r") ? line.substring(0, line.length() - 1) : line;
  }
}
