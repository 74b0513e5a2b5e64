package temse.mime;

import clojure.lang.PersistentVector;
import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;
import temse.message.HeaderField;

/**
 * A part of a message: where it lies and what its header says. The message itself is the part
 * without a parent. Positions count from the beginning of the message's body.
 */
public final class MimePart {
  /** What keeps the content of a part from being read or changed by others. */
  public enum Protection {
    /** A signature covers it. */
    SIGNED,
    /** It is encrypted. */
    ENCRYPTED
  }

  /** Why a part was not taken apart. */
  public enum Reason {
    /** It is a multipart whose Content-Type names no boundary, or one of over 1000 bytes. */
    NO_BOUNDARY,
    /** It is a multipart in which no line begins a part. */
    BOUNDARY_MISSING,
    /** It lies deeper than {@link MimeLimits#maxDepth}. */
    TOO_DEEP,
    /** There are more parts than {@link MimeLimits#maxParts}: this is all the rest. */
    TOO_MANY_PARTS,
    /** Its header is longer than {@link MimeLimits#maxHeaderBytes}. */
    HEADER_TOO_LONG
  }

  private final MimePart parent;
  private final PersistentVector path;
  private final List<HeaderField> headers;
  private final String type;
  private final Map<String, String> parameters;
  private final String encoding;
  private final StructuredField disposition;
  private final Protection protection;
  private final long start;
  private final long contentStart;
  private long end = -1;
  private Reason reason;
  private boolean closed;

  MimePart(
      MimePart parent,
      int number,
      List<HeaderField> headers,
      String defaultType,
      long start,
      long contentStart) {
    this.parent = parent;
    this.path = parent == null ? PersistentVector.EMPTY : parent.path.cons((long) number);
    this.headers = headers;
    this.start = start;
    this.contentStart = contentStart;
    StructuredField contentType =
        StructuredField.parse(HeaderFields.first(headers, "Content-Type"));
    String given = contentType.mediaType();
    this.type = given == null ? defaultType : given;
    this.parameters = contentType.parameters();
    this.encoding = encodingOf(headers);
    this.disposition = StructuredField.parse(HeaderFields.first(headers, "Content-Disposition"));
    this.protection =
        parent != null && parent.protection != null ? parent.protection : ownProtection();
  }

  /** {@return the transfer encoding that header fields name, in lower case, by default 7bit} */
  static String encodingOf(List<HeaderField> headers) {
    String value = HeaderFields.first(headers, "Content-Transfer-Encoding");
    String encoding = HeaderFields.keyword(StructuredField.parse(value).value());
    return encoding == null || encoding.isEmpty() ? "7bit" : encoding;
  }

  private Protection ownProtection() {
    String name = filename();
    return switch (type) {
      case "multipart/signed",
          "application/pkcs7-signature",
          "application/x-pkcs7-signature",
          "application/pgp-signature" ->
          Protection.SIGNED;
      case "application/pkcs7-mime", "application/x-pkcs7-mime" ->
          "signed-data".equalsIgnoreCase(parameters.get("smime-type"))
              ? Protection.SIGNED
              : Protection.ENCRYPTED;
      case "multipart/encrypted", "application/pgp-encrypted" -> Protection.ENCRYPTED;
      case "application/octet-stream" ->
          name != null && name.regionMatches(true, name.length() - 4, ".p7m", 0, 4)
              ? Protection.ENCRYPTED
              : null;
      default -> null;
    };
  }

  void end(long position) {
    end = position;
  }

  void unparsed(Reason why) {
    reason = why;
  }

  void close() {
    closed = true;
  }

  /** {@return the part in which this one lies, or null} */
  public @Nullable MimePart parent() {
    return parent;
  }

  /** {@return the numbers, from 1, of the part and those in which it lies, from outside} */
  @SuppressWarnings("unchecked")
  public List<Long> path() {
    return path;
  }

  /** {@return the header fields of the part; those of the message for the message itself} */
  public List<HeaderField> headers() {
    return headers;
  }

  /**
   * {@return the media type in lower case: what Content-Type says, else text/plain, or
   * message/rfc822 in a multipart/digest}
   */
  public String type() {
    return type;
  }

  /** {@return the parameters of Content-Type, decoded (RFC 2231), by their name in lower case} */
  public Map<String, String> parameters() {
    return parameters;
  }

  /** {@return the charset that Content-Type names, or null} */
  public @Nullable String charset() {
    return parameters.get("charset");
  }

  /** {@return the transfer encoding in lower case, by default 7bit} */
  public String encoding() {
    return encoding;
  }

  /** {@return the disposition in lower case, such as attachment, or null} */
  public @Nullable String disposition() {
    return HeaderFields.keyword(disposition.value());
  }

  /** {@return the file name, decoded, that Content-Disposition or Content-Type gives, or null} */
  public @Nullable String filename() {
    String name = disposition.parameters().get("filename");
    name = name == null ? parameters.get("name") : name;
    return name == null ? null : EncodedWords.decode(name);
  }

  /** {@return what protects the part, or one in which it lies, or null} */
  public @Nullable Protection protection() {
    return protection;
  }

  /** {@return where the header of the part begins} */
  public long start() {
    return start;
  }

  /** {@return where the content of the part begins} */
  public long contentStart() {
    return contentStart;
  }

  /**
   * {@return where the part ends, before the line end that belongs to the next boundary; -1 until
   * the scanner has come to it}
   */
  public long end() {
    return end;
  }

  /** {@return why the part was not taken apart, or null} */
  public @Nullable Reason reason() {
    return reason;
  }

  /** {@return whether the end of a multipart has been found} */
  public boolean isClosed() {
    return closed;
  }

  /** {@return whether the part consists of others: a multipart or a message} */
  public boolean isContainer() {
    return reason == null && (isMultipart() || isMessage());
  }

  boolean isMultipart() {
    return type.startsWith("multipart/");
  }

  /** {@return whether the content is a message that stands there as it is} */
  boolean isMessage() {
    return (type.equals("message/rfc822") || type.equals("message/global"))
        && TransferEncoding.isIdentity(encoding);
  }

  /** {@return whether a line that begins with two hyphens would end this part} */
  boolean isEndedBy(String line) {
    for (MimePart outer = parent; outer != null; outer = outer.parent) {
      String boundary = outer.parameters.get("boundary");
      if (outer.isMultipart()
          && boundary != null
          && line.startsWith(octets(boundary.stripTrailing()), 2)) {
        return true;
      }
    }
    return false;
  }

  /** {@return a text as one character for each of its bytes} */
  static String octets(String text) {
    return new String(text.getBytes(StandardCharsets.UTF_8), StandardCharsets.ISO_8859_1);
  }

  /** {@return path, type and position} */
  @Override
  public String toString() {
    return path + " " + type + " " + start + "-" + end + (reason == null ? "" : " " + reason);
  }
}
