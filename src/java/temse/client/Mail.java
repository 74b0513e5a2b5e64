package temse.client;

import clojure.lang.IPersistentMap;
import clojure.lang.IPersistentVector;
import clojure.lang.PersistentArrayMap;
import clojure.lang.PersistentVector;
import java.io.ByteArrayOutputStream;
import java.util.ArrayList;
import java.util.Arrays;
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

  private static final byte[] BYTE_ORDER_MARK = {(byte) 0xEF, (byte) 0xBB, (byte) 0xBF};

  /**
   * Makes a mail without parameters of recipients, whose body is cut only where a packet ends.
   *
   * @param sender with angle brackets
   * @param senderParameters of ESMTP
   * @param recipients with angle brackets
   * @param headers in order
   * @param body as it is sent
   */
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
    /** {@return the value without the one space that usually follows the colon} */
    public String value() {
      return raw.startsWith(" ") ? raw.substring(1) : raw;
    }
  }

  /**
   * Reads a message in the Internet message format (RFC 5322). Lines end in CR LF or LF, or all of
   * them in CR.
   *
   * <p>A byte order mark is left out, and so are the lines "From " and ">From " that mailboxes and
   * UUCP put before the header. Lines before the first empty one that are not header fields begin
   * the body, as on an MTA.
   *
   * @param sender with angle brackets
   * @param recipients with angle brackets
   * @param given the whole message
   * @return the mail
   */
  public static Mail parse(String sender, List<String> recipients, byte[] given) {
    byte[] message = plainLines(given);
    List<Field> headers = new ArrayList<>();
    int position = header(message, afterFromLines(message), headers);
    byte[] body = wireBody(Arrays.copyOfRange(message, position, message.length));
    return new Mail(sender, List.of(), recipients, headers, body);
  }

  /**
   * {@return the bytes of a mail or mailbox without a byte order mark, and with LF in place of each
   * CR if no LF ends a line}
   *
   * @param file all of its bytes
   */
  public static byte[] plainLines(byte[] file) {
    int mark = BYTE_ORDER_MARK.length;
    boolean marked = Arrays.equals(BYTE_ORDER_MARK, Arrays.copyOf(file, mark));
    byte[] bytes = marked ? Arrays.copyOfRange(file, mark, file.length) : file;
    if (indexOf(bytes, 0, '\n') < bytes.length || indexOf(bytes, 0, '\r') == bytes.length) {
      return bytes;
    }
    byte[] lines = bytes.clone();
    for (int i = 0; i < lines.length; i++) {
      lines[i] = lines[i] == '\r' ? (byte) '\n' : lines[i];
    }
    return lines;
  }

  /** Adds the header fields to a list and returns where the body begins. */
  private static int header(byte[] message, int start, List<Field> headers) {
    String name = null;
    StringBuilder raw = new StringBuilder();
    int position = start;
    while (position < message.length) {
      String line = line(message, position);
      boolean continued = name != null && !line.isEmpty() && " \t".indexOf(line.charAt(0)) >= 0;
      if (continued) {
        raw.append('\n').append(line);
      } else if (isField(line)) {
        addField(headers, name, raw);
        int colon = line.indexOf(':');
        name = line.substring(0, colon).stripTrailing();
        raw.append(line, colon + 1, line.length());
      } else {
        addField(headers, name, raw);
        return line.isEmpty() ? afterLine(message, position) : position;
      }
      position = afterLine(message, position);
    }
    addField(headers, name, raw);
    return position;
  }

  private static void addField(List<Field> headers, String name, StringBuilder raw) {
    if (name != null) {
      headers.add(new Field(name, raw.toString()));
      raw.setLength(0);
    }
  }

  /**
   * Returns where the message begins: behind lines "From " if a header field or nothing follows.
   */
  private static int afterFromLines(byte[] message) {
    int position = 0;
    while (position < message.length && isFromLine(line(message, position))) {
      position = afterLine(message, position);
    }
    String next = position < message.length ? line(message, position) : "";
    return next.isEmpty() || isField(next) ? position : 0;
  }

  private static boolean isFromLine(String line) {
    return line.replaceFirst("^>*", "").startsWith("From ");
  }

  /** {@return true for the first line of a header field, whose name is printable ASCII} */
  private static boolean isField(String line) {
    int colon = line.indexOf(':');
    String name = colon < 0 ? "" : line.substring(0, colon).stripTrailing();
    return !name.isEmpty() && name.chars().allMatch(c -> c > ' ' && c < 0x7F);
  }

  /** {@return the line that begins at an offset, without its end} */
  private static String line(byte[] message, int start) {
    int end = indexOf(message, start, '\n');
    if (end > start && message[end - 1] == '\r') {
      end--;
    }
    return Text.decode(Arrays.copyOfRange(message, start, end));
  }

  private static int afterLine(byte[] message, int start) {
    return Math.min(message.length, indexOf(message, start, '\n') + 1);
  }

  /** {@return the offset of the next such byte, or the length if there is none} */
  private static int indexOf(byte[] bytes, int start, char wanted) {
    int i = start;
    while (i < bytes.length && bytes[i] != wanted) {
      i++;
    }
    return i;
  }

  /**
   * {@return the mail with another body, which is sent in these pieces}
   *
   * @param pieces none of them larger than a packet may be
   */
  public Mail withBody(List<byte[]> pieces) {
    List<Integer> ends = new ArrayList<>();
    byte[] whole = wireBody(pieces, ends);
    List<Integer> inside = List.copyOf(ends.subList(0, Math.max(0, ends.size() - 1)));
    return new Mail(
        sender, senderParameters, recipients, headers, whole, inside, recipientParameters);
  }

  /**
   * {@return the mail with ESMTP parameters of its recipients}
   *
   * @param parameters one list for each of the first recipients
   */
  public Mail withRecipientParameters(List<List<String>> parameters) {
    return new Mail(sender, senderParameters, recipients, headers, body, cuts, parameters);
  }

  /**
   * {@return the body as MTAs send it: CR LF line ends, the last line ended}
   *
   * @param body with line ends of any kind
   */
  public static byte[] wireBody(byte[] body) {
    return wireBody(List.of(body), new ArrayList<>());
  }

  /**
   * {@return the body that the pieces are, and adds to {@code ends} where in it each piece ends}
   */
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
   * {@return the mail as a map: {@code :sender :options :recipients :headers :body}, and {@code
   * :recipient-options} where there are some} A field is a vector of name and value; where no space
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
            Keys.RECIPIENT_OPTIONS,
            vector(recipientParameters.stream().map(Mail::vector).toList()));
  }

  private static IPersistentVector vector(List<?> list) {
    return PersistentVector.create((Iterable<?>) list);
  }
}
