package temse.mime;

import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.function.BiConsumer;
import temse.message.HeaderField;

/**
 * Decodes the texts of a message while its body comes in, in pieces of any length: from transfer
 * encoding and charset. It keeps a few pieces, however long the message is.
 *
 * <p>Texts are the parts of type text and message that hold no further parts, those that could not
 * be taken apart, and what stands before and behind the parts of a multipart. They are lossless: a
 * byte that the charset does not know is a lone surrogate U+DC00 + byte.
 *
 * <pre>{@code
 * TextScanner scanner = new TextScanner(headers, MimeLimits.DEFAULT, (part, text) -> …);
 * scanner.accept(piece, 0, piece.length);
 * scanner.finish();
 * }</pre>
 */
public final class TextScanner {
  private final PartScanner parts;
  private final BiConsumer<MimePart, CharSequence> sink;
  private final List<MimePart> found = new ArrayList<>();
  private MimePart current;
  private TransferDecoder transfer;
  private CharsetText.Decoder charset;

  /**
   * Makes the scanner of a body, whose message has these header fields. The sink receives pieces of
   * text of a few thousand characters, each with its part.
   *
   * @param headers of the message
   * @param limits of depth, parts and headers
   * @param sink called with a part and a piece of its text
   */
  public TextScanner(
      List<HeaderField> headers, MimeLimits limits, BiConsumer<MimePart, CharSequence> sink) {
    this.sink = sink;
    this.parts = new PartScanner(headers, limits, new Decoding());
  }

  /**
   * Takes a piece of the body.
   *
   * @param bytes of which some are the piece
   * @param offset of the first
   * @param length how many
   */
  public void accept(byte[] bytes, int offset, int length) {
    parts.accept(bytes, offset, length);
  }

  /** Ends the body. */
  public void finish() {
    parts.finish();
  }

  /** {@return the parts that have begun, in this order; the first one is the message itself} */
  public List<MimePart> found() {
    return Collections.unmodifiableList(found);
  }

  /** {@return whether the content of a part is text} */
  static boolean isText(MimePart part) {
    return part.reason() != null
        || part.type().startsWith("text/")
        || part.type().startsWith("message/")
        || part.isMultipart();
  }

  private final class Decoding implements PartScanner.Sink {
    @Override
    public void content(MimePart part, byte[] bytes, int offset, int length) {
      if (part != current) {
        finishText();
        if (!isText(part)) {
          return;
        }
        current = part;
        boolean leaf = part.reason() == null && !part.isContainer();
        transfer = TransferDecoder.of(leaf ? part.encoding() : "binary");
        charset = new CharsetText.Decoder(part.charset(), text -> sink.accept(part, text));
      }
      transfer.decode(bytes, offset, length, charset::decode);
    }

    @Override
    public void begin(MimePart part) {
      found.add(part);
      finishText();
    }

    @Override
    public void end(MimePart part) {
      finishText();
    }

    private void finishText() {
      if (current != null) {
        transfer.finish(charset::decode);
        charset.finish();
        current = null;
      }
    }
  }
}
