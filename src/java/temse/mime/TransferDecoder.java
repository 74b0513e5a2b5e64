package temse.mime;

/**
 * Decodes content from its transfer encoding (RFC 2045 section 6), in pieces of any length, in
 * memory that does not grow. Whatever it is given it decodes: characters that are none of Base64
 * are passed over, data behind its padding are decoded, too, and what is no quoted-printable stands
 * for itself.
 */
abstract sealed class TransferDecoder {
  /** Takes decoded bytes, which are only valid during the call. */
  interface Sink {
    void accept(byte[] bytes, int offset, int length);
  }

  private final byte[] out = new byte[4096];
  private int size;

  /** Returns the decoder of an encoding in lower case; an unknown one leaves content as it is. */
  static TransferDecoder of(String encoding) {
    return switch (encoding) {
      case "base64" -> new Base64();
      case "quoted-printable" -> new QuotedPrintable();
      default -> new Identity();
    };
  }

  /** Decodes a piece. */
  abstract void decode(byte[] bytes, int offset, int length, Sink sink);

  /** Decodes what is left over when no more comes. */
  abstract void finish(Sink sink);

  final void put(int b, Sink sink) {
    out[size++] = (byte) b;
    if (size == out.length) {
      flush(sink);
    }
  }

  final void flush(Sink sink) {
    if (size > 0) {
      sink.accept(out, 0, size);
      size = 0;
    }
  }

  private static final class Identity extends TransferDecoder {
    @Override
    void decode(byte[] bytes, int offset, int length, Sink sink) {
      sink.accept(bytes, offset, length);
    }

    @Override
    void finish(Sink sink) {}
  }

  private static final class Base64 extends TransferDecoder {
    private int bits;
    private int digits;

    @Override
    void decode(byte[] bytes, int offset, int length, Sink sink) {
      for (int i = offset; i < offset + length; i++) {
        int value = valueOf(bytes[i]);
        if (value >= 0) {
          bits = bits << 6 | value;
          if (++digits == 4) {
            put(bits >> 16, sink);
            put(bits >> 8, sink);
            put(bits, sink);
            digits = 0;
          }
        } else if (bytes[i] == '=') {
          endGroup(sink);
        }
      }
      flush(sink);
    }

    @Override
    void finish(Sink sink) {
      endGroup(sink);
      flush(sink);
    }

    private void endGroup(Sink sink) {
      if (digits == 2) {
        put(bits >> 4, sink);
      } else if (digits == 3) {
        put(bits >> 10, sink);
        put(bits >> 2, sink);
      }
      digits = 0;
    }

    private static int valueOf(int c) {
      if (c >= 'A' && c <= 'Z') {
        return c - 'A';
      } else if (c >= 'a' && c <= 'z') {
        return c - 'a' + 26;
      } else if (c >= '0' && c <= '9') {
        return c - '0' + 52;
      } else {
        return c == '+' ? 62 : c == '/' ? 63 : -1;
      }
    }
  }

  private static final class QuotedPrintable extends TransferDecoder {
    /** How much white space may wait for what follows it. */
    private static final int MOST_BLANKS = 4096;

    /** White space that the end of the line would remove, or an equals sign and what follows it. */
    private final byte[] held = new byte[MOST_BLANKS];

    private int count;

    @Override
    void decode(byte[] bytes, int offset, int length, Sink sink) {
      for (int i = offset; i < offset + length; i++) {
        next(bytes[i], sink);
      }
      flush(sink);
    }

    @Override
    void finish(Sink sink) {
      if (count == 1 || count > 0 && held[0] != '=') {
        count = 0;
      }
      release(sink);
      flush(sink);
    }

    private void next(byte b, Sink sink) {
      if (count > 0 && held[0] == '=') {
        afterEquals(b, sink);
      } else if (b == '\n' || b == '\r') {
        count = 0;
        put(b, sink);
      } else if (b == ' ' || b == '\t') {
        hold(b, sink);
      } else {
        release(sink);
        if (b == '=') {
          hold(b, sink);
        } else {
          put(b, sink);
        }
      }
    }

    private void afterEquals(byte b, Sink sink) {
      byte second = count > 1 ? held[1] : 0;
      if (b == '\n') {
        count = 0;
      } else if (second == '\r') {
        literally(b, sink);
      } else if (b == '\r' && (count == 1 || second == ' ' || second == '\t')) {
        held[1] = b;
        count = 2;
      } else if ((b == ' ' || b == '\t') && (count == 1 || second == ' ' || second == '\t')) {
        hold(b, sink);
      } else if (count == 1 && Character.digit(b, 16) >= 0) {
        hold(b, sink);
      } else if (Character.digit(second, 16) >= 0 && Character.digit(b, 16) >= 0) {
        put(Character.digit(second, 16) << 4 | Character.digit(b, 16), sink);
        count = 0;
      } else {
        literally(b, sink);
      }
    }

    /** What is held was no encoding. */
    private void literally(byte b, Sink sink) {
      release(sink);
      next(b, sink);
    }

    private void hold(byte b, Sink sink) {
      if (count == MOST_BLANKS) {
        release(sink);
      }
      held[count++] = b;
    }

    private void release(Sink sink) {
      for (int i = 0; i < count; i++) {
        put(held[i], sink);
      }
      count = 0;
    }
  }
}
