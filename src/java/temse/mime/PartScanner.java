package temse.mime;

import java.io.ByteArrayOutputStream;
import java.nio.charset.StandardCharsets;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Deque;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import temse.message.HeaderField;
import temse.protocol.Text;

/**
 * Finds the parts of a message in its body, which comes in pieces of any length. It never throws,
 * whatever the bytes are; its time grows with their number alone, and it keeps a piece, the header
 * of a part, and what {@link MimePart} says of the open parts.
 *
 * <pre>{@code
 * PartScanner scanner = new PartScanner(headers, MimeLimits.DEFAULT, sink);
 * scanner.accept(piece, 0, piece.length);
 * scanner.finish();
 * }</pre>
 *
 * <p>A line that consists of two hyphens and the boundary of an open multipart, perhaps two more
 * hyphens, and anything behind white space, begins or ends a part (RFC 2046 section 5.1). Where two
 * multiparts share a boundary, it belongs to the outer one. A line that is no header field begins
 * the content.
 */
public final class PartScanner {
  /** How long a line may be that ends a part. */
  static final int LONGEST_DELIMITER = 4096;

  private static final int LONGEST_BOUNDARY = 1000;
  private static final int PIECE = 8192;

  /** Takes what is found, in the order of the bytes. */
  public interface Sink {
    /**
     * Called when a part begins: all is known of it but its end.
     *
     * @param part the part
     */
    default void begin(MimePart part) {}

    /**
     * Called with a piece of the content of a part, as it stands in the message. For a multipart,
     * it is what stands before its first part and behind its last one.
     *
     * @param part the part
     * @param bytes of which some are the piece
     * @param offset of the first
     * @param length how many
     */
    default void content(MimePart part, byte[] bytes, int offset, int length) {}

    /**
     * Called when a part has ended.
     *
     * @param part the part
     */
    default void end(MimePart part) {}
  }

  /** A part whose end has not come yet. */
  private static final class Open {
    final Open outer;
    final int depth;
    final int number;
    final long start;
    MimePart part;
    String boundary;
    int parts;

    Open(Open outer, long start) {
      this.outer = outer;
      this.depth = outer == null ? 0 : outer.depth + 1;
      this.number = outer == null ? 0 : ++outer.parts;
      this.start = start;
    }
  }

  private final MimeLimits limits;
  private final Sink sink;
  private final Deque<Open> open = new ArrayDeque<>();
  private final Map<String, Open> boundaries = new HashMap<>();
  private final ByteArrayOutputStream header = new ByteArrayOutputStream(0);
  private int parts;

  private byte[] buffer = new byte[2 * PIECE];
  private int length;

  /** The position in the body of the first byte in the buffer. */
  private long base;

  /** Where the content begins that the sink has not received yet. */
  private int from;

  /** Where the current line begins, or what of it is not looked at yet. */
  private int line;

  /** The length of the line end before the current line, which may belong to a delimiter. */
  private int lineEnd;

  /** Up to where no line end has been found. */
  private int searched;

  /** Whether the current line is known to be no delimiter. */
  private boolean content;

  /**
   * Makes the scanner of a body, whose message has these header fields.
   *
   * @param headers of the message
   * @param limits of depth, parts and headers
   * @param sink receives the parts
   */
  public PartScanner(List<HeaderField> headers, MimeLimits limits, Sink sink) {
    this.limits = limits;
    this.sink = sink;
    open.push(new Open(null, 0));
    begin(headers, 0, null);
  }

  /**
   * Takes a piece of the body.
   *
   * @param bytes of which some are the piece
   * @param offset of the first
   * @param count how many
   */
  public void accept(byte[] bytes, int offset, int count) {
    for (int i = 0; i < count; i += PIECE) {
      int piece = Math.min(PIECE, count - i);
      if (length + piece > buffer.length) {
        buffer = Arrays.copyOf(buffer, Math.max(2 * buffer.length, length + piece));
      }
      System.arraycopy(bytes, offset + i, buffer, length, piece);
      length += piece;
      run(false);
    }
  }

  /** Ends the body, and with it all parts. */
  public void finish() {
    run(true);
    while (inHeader()) {
      endHeader(length);
    }
    while (!open.isEmpty()) {
      end(base + length);
    }
  }

  private boolean inHeader() {
    return open.peek().part == null;
  }

  private void run(boolean last) {
    boolean more = true;
    while (more && line < length) {
      more = inHeader() ? headerLine(last) : content ? restOfLine() : contentLine(last);
    }
    int keep = line;
    if (!inHeader()) {
      int safe = last ? length : content ? beforeCr() : line - lineEnd;
      emit(safe);
      if (content) {
        line = safe;
        searched = length;
      }
      keep = safe;
    }
    if (keep > 0) {
      System.arraycopy(buffer, keep, buffer, 0, length - keep);
      base += keep;
      length -= keep;
      line -= keep;
      searched = Math.max(0, searched - keep);
      from = 0;
    }
  }

  /** Where the current line, which has no end yet, surely goes on. */
  private int beforeCr() {
    return length > line && buffer[length - 1] == '\r' ? length - 1 : length;
  }

  private void emit(int to) {
    if (to > from) {
      sink.content(open.peek().part, buffer, from, to - from);
      from = to;
    }
  }

  /** {@return the position behind the end of the current line, or -1} */
  private int nextLine() {
    for (int i = Math.max(line, searched); i < length; i++) {
      if (buffer[i] == '\n') {
        return i + 1;
      }
    }
    searched = length;
    return -1;
  }

  private void advance(int next) {
    lineEnd =
        next > line && buffer[next - 1] == '\n'
            ? next - 2 >= line && buffer[next - 2] == '\r' ? 2 : 1
            : 0;
    line = next;
    content = false;
  }

  private void contentAt(int position) {
    from = position;
    line = position;
    lineEnd = 0;
    content = false;
  }

  // ---- headers

  private boolean headerLine(boolean last) {
    int next = nextLine();
    if (header.size() + (next < 0 ? length : next) - line > limits.maxHeaderBytes()) {
      headerTooLong();
      return true;
    }
    if (next < 0) {
      if (!last) {
        return false;
      }
      next = length;
    }
    if (delimiter(next)) {
      return true;
    }
    if (isBlank(next)) {
      endHeader(next);
    } else if (isField(next)) {
      header.write(buffer, line, next - line);
      advance(next);
    } else {
      endHeader(line);
    }
    return true;
  }

  private boolean isBlank(int next) {
    return buffer[line] == '\n' || buffer[line] == '\r' && next == line + 2;
  }

  private boolean isField(int next) {
    if (buffer[line] == ' ' || buffer[line] == '\t') {
      return header.size() > 0;
    }
    int i = line;
    while (i < next && buffer[i] > ' ' && buffer[i] < 0x7F && buffer[i] != ':') {
      i++;
    }
    int name = i;
    while (i < next && (buffer[i] == ' ' || buffer[i] == '\t')) {
      i++;
    }
    return name > line && i < next && buffer[i] == ':';
  }

  private void endHeader(int position) {
    List<HeaderField> fields = fields(header.toByteArray());
    header.reset();
    contentAt(position);
    begin(fields, base + position, null);
  }

  private void headerTooLong() {
    byte[] bytes = header.toByteArray();
    header.reset();
    contentAt(line);
    begin(List.of(), open.peek().start, MimePart.Reason.HEADER_TOO_LONG);
    sink.content(open.peek().part, bytes, 0, bytes.length);
  }

  private static List<HeaderField> fields(byte[] header) {
    List<HeaderField> fields = new ArrayList<>();
    int start = 0;
    for (int i = 0; i < header.length; i++) {
      boolean goesOn = i + 1 < header.length && (header[i + 1] == ' ' || header[i + 1] == '\t');
      if (header[i] == '\n' && !goesOn || i + 1 == header.length) {
        fields.add(field(Text.decode(header, start, i + 1)));
        start = i + 1;
      }
    }
    return List.copyOf(fields);
  }

  private static HeaderField field(String lines) {
    int colon = lines.indexOf(':');
    String value = lines.substring(colon + 1).replace("\r\n", "\n");
    int end = value.endsWith("\n") ? value.length() - 1 : value.length();
    return HeaderField.ofRaw(lines.substring(0, colon).stripTrailing(), value.substring(0, end));
  }

  // ---- content

  private boolean restOfLine() {
    int next = nextLine();
    if (next < 0) {
      return false;
    }
    advance(next);
    return true;
  }

  private boolean contentLine(boolean last) {
    int available = length - line;
    boolean hyphens =
        !boundaries.isEmpty()
            && buffer[line] == '-'
            && (available < 2 ? !last : buffer[line + 1] == '-');
    if (!hyphens) {
      content = true;
      return true;
    }
    int next = available < 2 ? -1 : nextLine();
    if (next < 0 && !last && available < LONGEST_DELIMITER) {
      return false;
    }
    content = !delimiter(next < 0 ? length : next);
    return true;
  }

  /** {@return whether the current line is a delimiter, after having dealt with it} */
  private boolean delimiter(int next) {
    if (boundaries.isEmpty()
        || next - line < 2
        || next - line > LONGEST_DELIMITER
        || buffer[line] != '-'
        || buffer[line + 1] != '-') {
      return false;
    }
    String text =
        new String(buffer, line + 2, next - line - 2, StandardCharsets.ISO_8859_1).stripTrailing();
    int space = 0;
    while (space < text.length() && !Character.isWhitespace(text.charAt(space))) {
      space++;
    }
    String word = text.substring(0, space);
    Open begun = outer(boundaries.get(text), boundaries.get(word));
    Open ended = outer(boundaries.get(withoutHyphens(text)), boundaries.get(withoutHyphens(word)));
    Open found = outer(begun, ended);
    if (found == null) {
      return false;
    }
    boundary(found, found != begun, next);
    return true;
  }

  private static String withoutHyphens(String text) {
    return text.endsWith("--") ? text.substring(0, text.length() - 2) : null;
  }

  private static Open outer(Open one, Open other) {
    return one == null || other != null && other.depth < one.depth ? other : one;
  }

  private void boundary(Open multipart, boolean close, int next) {
    int contentEnd = line - lineEnd;
    if (inHeader()) {
      List<HeaderField> fields = fields(header.toByteArray());
      header.reset();
      begin(fields, Math.max(open.peek().start, base + contentEnd), null);
    } else {
      emit(contentEnd);
    }
    while (inHeader() || open.peek() != multipart) {
      if (inHeader()) {
        begin(List.of(), open.peek().start, null);
      }
      end(base + contentEnd);
    }
    contentAt(next);
    if (close) {
      multipart.part.close();
      boundaries.remove(multipart.boundary);
    } else {
      open.push(new Open(multipart, base + next));
      if (parts == limits.maxParts()) {
        boundaries.clear();
        begin(List.of(), base + next, MimePart.Reason.TOO_MANY_PARTS);
      }
    }
  }

  // ---- parts

  /** The header of the innermost part is complete. */
  private void begin(List<HeaderField> fields, long contentStart, MimePart.Reason reason) {
    Open inner = open.peek();
    MimePart parent = inner.outer == null ? null : inner.outer.part;
    String type =
        parent != null && parent.type().equals("multipart/digest")
            ? "message/rfc822"
            : "text/plain";
    MimePart part = new MimePart(parent, inner.number, fields, type, inner.start, contentStart);
    parts++;
    inner.part = part;
    part.unparsed(reason == null ? obstacle(inner) : reason);
    sink.begin(part);
    if (part.reason() == null && part.isMessage()) {
      open.push(new Open(inner, contentStart));
    }
  }

  /** {@return why a part cannot be taken apart, or null, and notes its boundary} */
  private MimePart.Reason obstacle(Open inner) {
    MimePart part = inner.part;
    if (!part.isContainer()) {
      return null;
    }
    if (inner.depth >= limits.maxDepth()) {
      return MimePart.Reason.TOO_DEEP;
    }
    if (part.isMultipart()) {
      String boundary = part.parameters().get("boundary");
      String octets = boundary == null ? "" : MimePart.octets(boundary).stripTrailing();
      if (octets.isEmpty() || octets.length() > LONGEST_BOUNDARY) {
        return MimePart.Reason.NO_BOUNDARY;
      }
      inner.boundary = octets;
      boundaries.putIfAbsent(octets, inner);
    } else if (parts == limits.maxParts()) {
      return MimePart.Reason.TOO_MANY_PARTS;
    }
    return null;
  }

  /** The innermost part has ended. */
  private void end(long position) {
    Open inner = open.pop();
    MimePart part = inner.part;
    part.end(Math.max(position, part.contentStart()));
    if (inner.boundary != null) {
      boundaries.remove(inner.boundary, inner);
      if (inner.parts == 0) {
        part.unparsed(MimePart.Reason.BOUNDARY_MISSING);
      }
    }
    sink.end(part);
  }
}
