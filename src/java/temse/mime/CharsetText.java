package temse.mime;

import java.io.ByteArrayOutputStream;
import java.nio.ByteBuffer;
import java.nio.CharBuffer;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.Charset;
import java.nio.charset.CharsetDecoder;
import java.nio.charset.CharsetEncoder;
import java.nio.charset.CoderMalfunctionError;
import java.nio.charset.CoderResult;
import java.nio.charset.CodingErrorAction;
import java.nio.charset.StandardCharsets;
import java.util.function.Consumer;
import org.apache.james.mime4j.util.CharsetUtil;

/**
 * Lossless text in any charset: a byte that the charset does not know is the lone surrogate U+DC00
 * + byte, as in {@link temse.protocol.Text}. Without a charset, with US-ASCII and with one that
 * Java does not know, bytes are read as UTF-8.
 */
final class CharsetText {
  private static final int ESCAPE = 0xDC00;

  private CharsetText() {}

  /** Returns the charset of a name, or null for none, US-ASCII and an unknown one. */
  static Charset lookup(String name) {
    if (name == null || name.length() > 100) {
      return null;
    }
    Charset charset = CharsetUtil.lookup(name.strip());
    return StandardCharsets.US_ASCII.equals(charset) ? null : charset;
  }

  static String decode(byte[] bytes, String charset) {
    StringBuilder text = new StringBuilder(bytes.length);
    Decoder decoder = new Decoder(charset, text::append);
    decoder.decode(bytes, 0, bytes.length);
    decoder.finish();
    return text.toString();
  }

  /** Decodes bytes that come in pieces of any length. */
  static final class Decoder {
    private final Consumer<CharSequence> sink;
    private final CharBuffer out = CharBuffer.allocate(4096);
    private CharsetDecoder decoder;

    /** The beginning of a character whose end has not come yet. */
    private byte[] rest = new byte[0];

    Decoder(String charset, Consumer<CharSequence> sink) {
      Charset known = lookup(charset);
      this.sink = sink;
      use(known == null ? StandardCharsets.UTF_8 : known);
    }

    private void use(Charset charset) {
      decoder =
          charset
              .newDecoder()
              .onMalformedInput(CodingErrorAction.REPORT)
              .onUnmappableCharacter(CodingErrorAction.REPORT);
    }

    void decode(byte[] bytes, int offset, int length) {
      run(joined(bytes, offset, length), false);
    }

    void finish() {
      run(ByteBuffer.wrap(rest), true);
      try {
        decoder.flush(out);
      } catch (RuntimeException e) {
        // Nothing has been decoded: some decoders then have nothing to flush.
      }
      flush();
    }

    private ByteBuffer joined(byte[] bytes, int offset, int length) {
      if (rest.length == 0) {
        return ByteBuffer.wrap(bytes, offset, length);
      }
      ByteBuffer joined = ByteBuffer.allocate(rest.length + length);
      return joined.put(rest).put(bytes, offset, length).flip();
    }

    private void run(ByteBuffer in, boolean last) {
      while (true) {
        CoderResult result = step(in, last);
        if (result.isOverflow()) {
          flush();
        } else if (result.isUnderflow()) {
          break;
        } else {
          for (int i = 0; i < result.length(); i++) {
            escape(in.get());
          }
        }
      }
      rest = new byte[in.remaining()];
      in.get(rest);
      if (last) {
        for (byte b : rest) {
          escape(b);
        }
      }
      flush();
    }

    /** Goes on in UTF-8 where a charset of the JDK fails over what it is given. */
    private CoderResult step(ByteBuffer in, boolean last) {
      int position = in.position();
      try {
        return decoder.decode(in, out, last);
      } catch (RuntimeException | CoderMalfunctionError e) {
        use(StandardCharsets.UTF_8);
        in.position(position);
        return decoder.decode(in, out, last);
      }
    }

    private void escape(byte b) {
      if (!out.hasRemaining()) {
        flush();
      }
      out.put((char) (b < 0 ? ESCAPE + (b & 0xFF) : b));
    }

    private void flush() {
      if (out.flip().hasRemaining()) {
        sink.accept(out.toString());
      }
      out.clear();
    }
  }

  /** Returns whether a text has characters that are neither ASCII nor stand for a byte. */
  static boolean needsCharset(String text) {
    for (int i = 0; i < text.length(); i++) {
      char c = text.charAt(i);
      if (Character.isHighSurrogate(c) || c >= 0x80 && !isEscape(c)) {
        return true;
      }
    }
    return false;
  }

  /** Returns the bytes of a text, or null if the charset cannot hold it. */
  static byte[] encode(String text, Charset charset) {
    if (!charset.canEncode()) {
      return null;
    }
    CharsetEncoder encoder = charset.newEncoder();
    ByteArrayOutputStream bytes = new ByteArrayOutputStream(text.length());
    int from = 0;
    try {
      for (int i = 0; i < text.length(); i++) {
        char c = text.charAt(i);
        if (Character.isHighSurrogate(c)
            && i + 1 < text.length()
            && Character.isLowSurrogate(text.charAt(i + 1))) {
          i++;
        } else if (isEscape(c)) {
          encode(text, from, i, encoder, bytes);
          bytes.write(c - ESCAPE);
          from = i + 1;
        }
      }
      encode(text, from, text.length(), encoder, bytes);
      return bytes.toByteArray();
    } catch (CharacterCodingException | CoderMalfunctionError e) {
      return null;
    }
  }

  private static void encode(
      String text, int from, int to, CharsetEncoder encoder, ByteArrayOutputStream bytes)
      throws CharacterCodingException {
    if (from < to) {
      ByteBuffer encoded = encoder.encode(CharBuffer.wrap(text, from, to));
      bytes.write(encoded.array(), encoded.arrayOffset(), encoded.remaining());
    }
  }

  /** Returns the bytes of a text in UTF-8; half a character is a question mark. */
  static byte[] encodeUtf8(String text) {
    byte[] bytes = encode(text, StandardCharsets.UTF_8);
    return bytes == null ? text.getBytes(StandardCharsets.UTF_8) : bytes;
  }

  private static boolean isEscape(char c) {
    return c >= ESCAPE + 0x80 && c <= ESCAPE + 0xFF;
  }
}
