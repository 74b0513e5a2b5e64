package temse.mime;

import java.io.ByteArrayOutputStream;
import java.nio.charset.Charset;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.function.UnaryOperator;
import java.util.regex.Pattern;
import org.jspecify.annotations.Nullable;
import temse.message.HeaderField;
import temse.protocol.Printable;
import temse.protocol.Text;

/**
 * Replaces the content of parts of a message. Every byte outside of these parts stays as it is, and
 * of their header fields only Content-Type and Content-Transfer-Encoding change, and only if they
 * must.
 *
 * <pre>{@code
 * MimeEditor editor = new MimeEditor(headers, body, MimeLimits.DEFAULT);
 * for (MimePart part : editor.parts()) {
 *   if (part.type().equals("text/plain") && part.protection() == null) {
 *     editor.replace(part, editor.text(part) + "-- \r\nSent by Example\r\n");
 *   }
 * }
 * editor.headers(); editor.body();
 * }</pre>
 */
public final class MimeEditor {
  private static final String CONTENT_TYPE = "Content-Type";
  private static final String ENCODING = "Content-Transfer-Encoding";
  private static final byte[] CR_LF = {'\r', '\n'};
  private static final Pattern BARE_LF = Pattern.compile("(?<!\r)\n");

  private final byte[] body;
  private final List<MimePart> parts;
  private final Set<MimePart> known;
  private final TreeMap<Long, Edit> edits = new TreeMap<>();
  private List<HeaderField> headers;
  private boolean forced;

  /** What stands in the place of a part from a position on. */
  private record Edit(long from, long to, byte[] bytes) {}

  /**
   * Finds the parts of a message with these header fields and this body.
   *
   * @param headers in order
   * @param body as it was received
   * @param limits of depth, parts and headers
   */
  public MimeEditor(List<HeaderField> headers, byte[] body, MimeLimits limits) {
    this.headers = List.copyOf(headers);
    this.body = body;
    List<MimePart> found = new ArrayList<>();
    PartScanner scanner =
        new PartScanner(
            this.headers,
            limits,
            new PartScanner.Sink() {
              @Override
              public void begin(MimePart part) {
                found.add(part);
              }
            });
    scanner.accept(body, 0, body.length);
    scanner.finish();
    this.parts = List.copyOf(found);
    this.known = new HashSet<>(found);
  }

  /** {@return the parts in the order in which they begin; the first one is the message itself} */
  public List<MimePart> parts() {
    return parts;
  }

  /**
   * Lets signed and encrypted parts be replaced, too, which makes them invalid.
   *
   * @return this editor
   */
  public MimeEditor force() {
    forced = true;
    return this;
  }

  /**
   * {@return the content of a part, without its transfer encoding}
   *
   * @param part one of {@link #parts}
   */
  public byte[] content(MimePart part) {
    ByteArrayOutputStream out = new ByteArrayOutputStream();
    TransferDecoder decoder =
        TransferDecoder.of(part.reason() == null ? part.encoding() : "binary");
    int from = (int) part.contentStart();
    decoder.decode(body, from, (int) part.end() - from, out::write);
    decoder.finish(out::write);
    return out.toByteArray();
  }

  /**
   * {@return the text of a part, or null if it is no text or in a transfer encoding that is not
   * known} A byte that the charset does not know is a lone surrogate U+DC00 + byte.
   *
   * @param part one of {@link #parts}
   */
  public @Nullable String text(MimePart part) {
    boolean readable = part.reason() != null || TransferEncoding.isKnown(part.encoding());
    return TextScanner.isText(part) && readable
        ? CharsetText.decode(content(part), part.charset())
        : null;
  }

  /**
   * {@return the text of bytes in a charset, which may be null} A byte that the charset does not
   * know is a lone surrogate U+DC00 + byte.
   *
   * @param bytes after the transfer encoding
   * @param charset a name, such as {@code iso-8859-1}
   */
  public static String decode(byte[] bytes, @Nullable String charset) {
    return CharsetText.decode(bytes, charset);
  }

  /**
   * Replaces the text of a part. If its charset cannot hold the text, the part is written in UTF-8
   * and its Content-Type says so. LF alone becomes CR LF, unless the part has line ends of LF
   * alone.
   *
   * @param part one of {@link #parts}
   * @param text lines end in LF or CR LF
   * @return this editor
   * @throws IllegalArgumentException as {@link #replace(MimePart, byte[])} does
   */
  public MimeEditor replace(MimePart part, String text) {
    return replace(part, part.headers(), text);
  }

  /**
   * Replaces the content of a part, in the transfer encoding that it has if that can carry it.
   *
   * @param part one of {@link #parts}
   * @param content before the transfer encoding
   * @return this editor
   * @throws IllegalArgumentException if the part consists of others, could not be taken apart, or
   *     is signed or encrypted and {@link #force} was not called, or if a header field would be
   *     more than one or none
   */
  public MimeEditor replace(MimePart part, byte[] content) {
    return replace(part, part.headers(), content);
  }

  /**
   * Replaces the header fields of a part and its text.
   *
   * @param part one of {@link #parts}
   * @param fields all of them, in order
   * @param text lines end in LF or CR LF
   * @return this editor
   */
  public MimeEditor replace(MimePart part, List<HeaderField> fields, String text) {
    String old = text(part);
    boolean bare = old != null && BARE_LF.matcher(old).find();
    String lines = bare ? text : BARE_LF.matcher(text).replaceAll("\r\n");
    String declared =
        StructuredField.parse(HeaderFields.first(fields, CONTENT_TYPE)).parameters().get("charset");
    Charset charset = CharsetText.lookup(declared);
    byte[] content = charset == null ? null : CharsetText.encode(lines, charset);
    if (content != null && !CharsetText.decode(content, declared).equals(lines)) {
      content = null;
    }
    boolean utf8 = content == null && (charset != null || CharsetText.needsCharset(lines));
    return edit(
        part,
        utf8
            ? with(fields, CONTENT_TYPE, value -> ContentTypes.withCharset(value, "utf-8"))
            : fields,
        content == null ? CharsetText.encodeUtf8(lines) : content,
        true);
  }

  /**
   * Replaces the header fields of a part and its content.
   *
   * @param part one of {@link #parts}
   * @param fields all of them, in order
   * @param content before the transfer encoding
   * @return this editor
   */
  public MimeEditor replace(MimePart part, List<HeaderField> fields, byte[] content) {
    return edit(part, fields, content, part.type().startsWith("text/"));
  }

  private MimeEditor edit(MimePart part, List<HeaderField> fields, byte[] content, boolean text) {
    check(part);
    Set<HeaderField> given = new HashSet<>(part.headers());
    for (HeaderField field : fields) {
      if (!given.contains(field)) {
        check(field);
      }
    }
    String old = MimePart.encodingOf(fields);
    String encoding = TransferEncoding.choose(old, content, text, part);
    List<HeaderField> changed =
        encoding.equals(old) ? fields : with(fields, ENCODING, value -> encoding);
    byte[] encoded = TransferEncoding.encode(content, encoding);
    if (part.parent() == null) {
      boolean mime = HeaderFields.first(changed, "MIME-Version") != null;
      headers =
          mime || changed.equals(part.headers())
              ? changed
              : with(changed, "MIME-Version", value -> "1.0");
      edits.put(0L, new Edit(0, body.length, encoded));
    } else {
      ByteArrayOutputStream out = new ByteArrayOutputStream();
      endHeadersAround(part, out);
      out.writeBytes(header(part, changed));
      out.writeBytes(encoded);
      if (encoded.length > 0 && touchesBoundary(part)) {
        out.writeBytes(CR_LF);
      }
      edits.put(part.start(), new Edit(part.start(), part.end(), out.toByteArray()));
    }
    return this;
  }

  private static void check(HeaderField field) {
    if (!HeaderFields.isOne(field)) {
      throw new IllegalArgumentException(
          "the header field "
              + Printable.of(field.name() + ": " + field.value(), 100)
              + " needs a name of visible ASCII characters without a colon, and white space after"
              + " each line feed of its value");
    }
  }

  private void check(MimePart part) {
    if (!known.contains(part)) {
      throw new IllegalArgumentException("the part " + part + " is none of this message");
    }
    if (part.isContainer() || part.reason() != null) {
      throw new IllegalArgumentException(
          "the part "
              + part
              + (part.isContainer() ? " consists of others" : " could not be taken apart")
              + ": its content cannot be replaced");
    }
    if (part.protection() != null && !forced) {
      throw new IllegalArgumentException(
          "the part "
              + part
              + (part.protection() == MimePart.Protection.SIGNED ? " is signed" : " is encrypted")
              + ": to replace it all the same, force it");
    }
  }

  /**
   * Returns fields in which the first one of a name has another value, at the end if there is none.
   */
  private static List<HeaderField> with(
      List<HeaderField> fields, String name, UnaryOperator<String> value) {
    List<HeaderField> changed = new ArrayList<>(fields);
    for (int i = 0; i < changed.size(); i++) {
      HeaderField field = changed.get(i);
      if (field.isNamed(name)) {
        changed.set(i, new HeaderField(field.name(), value.apply(field.value()), field.spaced()));
        return changed;
      }
    }
    changed.add(new HeaderField(name, value.apply(null)));
    return changed;
  }

  /**
   * Returns the bytes of a part's header with the empty line behind it; those of fields that stay.
   */
  private byte[] header(MimePart part, List<HeaderField> fields) {
    int start = (int) part.start();
    int end = (int) part.contentStart();
    boolean complete = endsWithEmptyLine(start, end);
    ByteArrayOutputStream out = new ByteArrayOutputStream();
    if (fields.equals(part.headers()) && complete) {
      out.write(body, start, end - start);
      return out.toByteArray();
    }
    List<byte[]> raw = rawFields(start, end);
    for (int i = 0; i < fields.size(); i++) {
      HeaderField field = fields.get(i);
      int same = part.headers().indexOf(field);
      if (same >= 0 && same < raw.size()) {
        byte[] lines = raw.get(same);
        out.writeBytes(lines);
        if (lines[lines.length - 1] != '\n') {
          out.writeBytes(CR_LF);
        }
      } else {
        out.writeBytes(
            Text.encodeBytes(field.name() + ":" + field.raw().replace("\n", "\r\n") + "\r\n"));
      }
    }
    out.writeBytes(CR_LF);
    return out.toByteArray();
  }

  /**
   * Writes the empty line that a message around the part lacks behind its header: what is written
   * behind it would be part of that header.
   */
  private void endHeadersAround(MimePart part, ByteArrayOutputStream out) {
    MimePart around = part.parent();
    if (around.parent() == null || around.contentStart() != part.start()) {
      return;
    }
    endHeadersAround(around, out);
    int start = (int) around.start();
    int end = (int) around.contentStart();
    if (!endsWithEmptyLine(start, end)) {
      if (start < end && body[end - 1] != '\n') {
        out.writeBytes(CR_LF);
      }
      out.writeBytes(CR_LF);
    }
  }

  /**
   * Returns true if the boundary behind a part follows its header at once, so that the line end
   * that belongs to the boundary is that of the empty line.
   */
  private boolean touchesBoundary(MimePart part) {
    int end = (int) part.end();
    return end < body.length && body[end] != '\r' && body[end] != '\n';
  }

  private boolean endsWithEmptyLine(int start, int end) {
    int i = end - 1;
    if (i < start || body[i] != '\n') {
      return false;
    }
    i -= i > start && body[i - 1] == '\r' ? 2 : 1;
    return i < start || body[i] == '\n';
  }

  /** {@return the lines of each header field of a part} */
  private List<byte[]> rawFields(int start, int end) {
    List<byte[]> fields = new ArrayList<>();
    int from = start;
    for (int i = start; i < end; i++) {
      boolean goesOn = i + 1 < end && (body[i + 1] == ' ' || body[i + 1] == '\t');
      if (body[i] == '\n' && !goesOn || i + 1 == end) {
        fields.add(Arrays.copyOfRange(body, from, i + 1));
        from = i + 1;
      }
    }
    return fields;
  }

  /** {@return the header fields of the message, as they are now} */
  public List<HeaderField> headers() {
    return headers;
  }

  /** {@return the body of the message, as it is now} */
  public byte[] body() {
    ByteArrayOutputStream out = new ByteArrayOutputStream(body.length + 1024);
    int from = 0;
    for (Map.Entry<Long, Edit> entry : edits.entrySet()) {
      Edit edit = entry.getValue();
      out.write(body, from, (int) edit.from() - from);
      out.writeBytes(edit.bytes());
      from = (int) edit.to();
    }
    out.write(body, from, body.length - from);
    return out.toByteArray();
  }
}
