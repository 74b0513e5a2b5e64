package temse.mime;

import java.io.ByteArrayOutputStream;
import java.nio.charset.StandardCharsets;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * Encoded words in header fields (RFC 2047), with characters that are split over several words. The
 * words of other mailers, which hold spaces or stand inside of other words, are decoded, too.
 */
public final class EncodedWords {
  private static final Pattern WORD =
      Pattern.compile("=\\?([^?\\s]{1,100})\\?([bBqQ])\\?([^?]*)\\?=");

  private EncodedWords() {}

  /**
   * {@return the text of a header field's value, unfolded} What is no encoded word stays as it is;
   * a byte that the charset does not know is a lone surrogate U+DC00 + byte.
   *
   * <pre>{@code
   * EncodedWords.decode("=?utf-8?q?Gr=C3?= =?utf-8?q?=BC=C3=9Fe?="); // Grüße
   * }</pre>
   *
   * @param value folds included
   */
  public static String decode(String value) {
    String text = value.replaceAll("\\r?\\n(?=[ \\t])", "");
    if (!text.contains("=?")) {
      return text;
    }
    Matcher words = WORD.matcher(text);
    StringBuilder decoded = new StringBuilder();
    Run run = new Run();
    int end = 0;
    while (words.find()) {
      String between = text.substring(end, words.start());
      if (end == 0 || !between.isBlank()) {
        run.end(decoded);
        decoded.append(between);
      }
      run.add(words.group(1), words.group(2), words.group(3), decoded);
      end = words.end();
    }
    run.end(decoded);
    return decoded.append(text, end, text.length()).toString();
  }

  /** Words in sequence whose bytes belong together. */
  private static final class Run {
    private final ByteArrayOutputStream bytes = new ByteArrayOutputStream();
    private String charset = "";
    private String encoding = "";
    private TransferDecoder decoder = TransferDecoder.of("7bit");

    void add(String wordCharset, String wordEncoding, String text, StringBuilder out) {
      String name = wordCharset.replaceFirst("\\*.*", "");
      if (!name.equalsIgnoreCase(charset)) {
        end(out);
        charset = name;
      }
      if (!wordEncoding.equalsIgnoreCase(encoding)) {
        decoder.finish(bytes::write);
        encoding = wordEncoding;
        decoder =
            TransferDecoder.of(encoding.equalsIgnoreCase("B") ? "base64" : "quoted-printable");
      }
      String octets = encoding.equalsIgnoreCase("Q") ? text.replace("_", "=20") : text;
      byte[] encoded = octets.getBytes(StandardCharsets.UTF_8);
      decoder.decode(encoded, 0, encoded.length, bytes::write);
    }

    void end(StringBuilder out) {
      decoder.finish(bytes::write);
      out.append(CharsetText.decode(bytes.toByteArray(), charset));
      bytes.reset();
      charset = "";
      encoding = "";
      decoder = TransferDecoder.of("7bit");
    }
  }
}
