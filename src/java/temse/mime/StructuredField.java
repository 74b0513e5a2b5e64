package temse.mime;

import java.io.ByteArrayOutputStream;
import java.nio.charset.Charset;
import java.nio.charset.StandardCharsets;
import java.util.LinkedHashMap;
import java.util.Locale;
import java.util.Map;
import java.util.TreeMap;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.apache.james.mime4j.stream.NameValuePair;
import org.apache.james.mime4j.stream.ParserCursor;
import org.apache.james.mime4j.stream.RawBody;
import org.apache.james.mime4j.stream.RawFieldParser;
import org.apache.james.mime4j.util.ByteArrayBuffer;

/**
 * The value of a header field such as Content-Type: a word and parameters, whose continuations and
 * percent-encoding (RFC 2231) are decoded. mime4j parses the field; its own decoding of RFC 2231
 * ignores the numbers of continuations and takes "+" for a space.
 *
 * @param value the word, or null without the field
 * @param parameters the parameters by their name in lower case; of equal names the first
 */
record StructuredField(String value, Map<String, String> parameters) {
  private static final StructuredField NONE = new StructuredField(null, Map.of());
  private static final Pattern NAME = Pattern.compile("([^*]+)(?:\\*(\\d{1,6}))?(\\*)?");

  /** A piece of a parameter. */
  private record Segment(String value, boolean encoded) {}

  static StructuredField parse(String text) {
    if (text == null) {
      return NONE;
    }
    byte[] bytes = CharsetText.encodeUtf8(text);
    RawBody body =
        RawFieldParser.DEFAULT.parseRawBody(
            new ByteArrayBuffer(bytes, true), new ParserCursor(0, bytes.length));
    Map<String, String> plain = new LinkedHashMap<>();
    Map<String, TreeMap<Integer, Segment>> extended = new LinkedHashMap<>();
    for (NameValuePair pair : body.getParams()) {
      Matcher name = NAME.matcher(pair.getName().toLowerCase(Locale.ROOT));
      String value = pair.getValue() == null ? "" : pair.getValue();
      if (!name.matches()) {
        continue;
      }
      boolean encoded = name.group(3) != null;
      if (name.group(2) == null && !encoded) {
        plain.putIfAbsent(name.group(1), value);
      } else {
        // name*= is complete, and therefore goes before continuations.
        int number = name.group(2) == null ? -1 : Integer.parseInt(name.group(2));
        extended
            .computeIfAbsent(name.group(1), key -> new TreeMap<>())
            .putIfAbsent(number, new Segment(value, encoded));
      }
    }
    extended.forEach((name, segments) -> plain.put(name, joined(segments)));
    return new StructuredField(body.getValue(), plain);
  }

  /** Returns the value as type and subtype in lower case, or null if it is no media type. */
  String mediaType() {
    String type = HeaderFields.keyword(value);
    int slash = type == null ? -1 : type.indexOf('/');
    if (slash <= 0 || slash == type.length() - 1) {
      return null;
    }
    return type.substring(0, slash).strip() + "/" + type.substring(slash + 1).strip();
  }

  private static String joined(TreeMap<Integer, Segment> segments) {
    ByteArrayOutputStream bytes = new ByteArrayOutputStream();
    String charset = null;
    int expected = segments.firstKey();
    for (Map.Entry<Integer, Segment> entry : segments.entrySet()) {
      if (entry.getKey() != expected) {
        break;
      }
      String value = entry.getValue().value();
      if (entry.getValue().encoded()) {
        int first = charset == null ? value.indexOf('\'') : -1;
        int second = first < 0 ? -1 : value.indexOf('\'', first + 1);
        if (second >= 0) {
          charset = value.substring(0, first);
          value = value.substring(second + 1);
        }
        percentDecode(value, bytes);
      } else {
        bytes.writeBytes(value.getBytes(charsetOf(charset)));
      }
      if (expected < 0) {
        break;
      }
      expected++;
    }
    return CharsetText.decode(bytes.toByteArray(), charset);
  }

  private static Charset charsetOf(String name) {
    Charset charset = CharsetText.lookup(name);
    return charset != null && charset.canEncode() ? charset : StandardCharsets.UTF_8;
  }

  private static void percentDecode(String value, ByteArrayOutputStream bytes) {
    byte[] raw = value.getBytes(StandardCharsets.UTF_8);
    for (int i = 0; i < raw.length; i++) {
      int high = raw[i] == '%' && i + 2 < raw.length ? Character.digit(raw[i + 1], 16) : -1;
      int low = high < 0 ? -1 : Character.digit(raw[i + 2], 16);
      if (low < 0) {
        bytes.write(raw[i]);
      } else {
        bytes.write(high << 4 | low);
        i += 2;
      }
    }
  }
}
