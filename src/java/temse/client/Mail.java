package temse.client;

import clojure.lang.IPersistentMap;
import clojure.lang.IPersistentVector;
import clojure.lang.Keyword;
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
 * @param cuts offsets at which the body is cut into pieces, in ascending order; a piece that is too
 *     long for a packet is cut further
 * @param recipientParameters ESMTP parameters of each RCPT TO; those of the last recipients may be
 *     missing
 */
public record Mail(
    String sender,
    List<String> senderParameters,
    List<String> recipients,
    List<Field> headers,
    byte[] body,
    List<Integer> cuts,
    List<List<String>> recipientParameters) {

  private static final Keyword RECIPIENT_OPTIONS = Keyword.intern("recipient-options");

  /** Makes a mail without parameters of recipients, whose body is cut only where a packet ends. */
  public Mail(
      String sender,
      List<String> senderParameters,
      List<String> recipients,
      List<Field> headers,
      byte[] body) {
    this(sender, senderParameters, recipients, headers, body, List.of(), List.of());
  }

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

  /** Returns the mail with another body, which is sent in these pieces. */
  public Mail withBody(List<byte[]> pieces) {
    List<Integer> ends = new ArrayList<>();
    byte[] whole = wireBody(pieces, ends);
    List<Integer> inside = List.copyOf(ends.subList(0, Math.max(0, ends.size() - 1)));
    return new Mail(
        sender, senderParameters, recipients, headers, whole, inside, recipientParameters);
  }

  /** Returns the mail with ESMTP parameters of its recipients. */
  public Mail withRecipientParameters(List<List<String>> parameters) {
    return new Mail(sender, senderParameters, recipients, headers, body, cuts, parameters);
  }

  /** Returns the body as MTAs send it: CR LF line ends, the last line ended. */
  public static byte[] wireBody(byte[] body) {
    return wireBody(List.of(body), new ArrayList<>());
  }

  /** Returns the body that the pieces are, and adds to {@code ends} where in it each piece ends. */
  private static byte[] wireBody(List<byte[]> pieces, List<Integer> ends) {
    ByteArrayOutputStream bytes = new ByteArrayOutputStream();
    byte previous = '\n';
    for (byte[] piece : pieces) {
      for (byte b : piece) {
        if (b == '\n' && previous != '\r') {
          bytes.write('\r');
        }
        bytes.write(b);
        previous = b;
      }
      ends.add(bytes.size());
    }
    if (previous != '\n') {
      bytes.write('\r');
      bytes.write('\n');
    }
    return bytes.toByteArray();
  }

  /**
   * Returns the mail as a map: {@code :sender :options :recipients :headers :body}, and {@code
   * :recipient-options} where there are some. A field is a vector of name and value; where no space
   * follows the colon, what does follows as third.
   */
  public IPersistentMap toMap() {
    List<IPersistentVector> fields = new ArrayList<>();
    for (Field field : headers) {
      fields.add(
          field.raw().startsWith(" ")
              ? PersistentVector.create(field.name(), field.value())
              : PersistentVector.create(field.name(), field.value(), field.raw()));
    }
    IPersistentMap map =
        new PersistentArrayMap(
            new Object[] {
              Keys.SENDER, sender,
              Keys.OPTIONS, vector(senderParameters),
              Keys.RECIPIENTS, vector(recipients),
              Keys.HEADERS, vector(fields),
              Keys.BODY, body
            });
    return recipientParameters.isEmpty()
        ? map
        : map.assoc(
            RECIPIENT_OPTIONS, vector(recipientParameters.stream().map(Mail::vector).toList()));
  }

  private static IPersistentVector vector(List<?> list) {
    return PersistentVector.create((Iterable<?>) list);
  }

  private static String withoutCr(String line) {
    return line.endsWith("\r") ? line.substring(0, line.length() - 1) : line;
  }
}
