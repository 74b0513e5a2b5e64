package temse.server.internal;

import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.regex.Pattern;
import org.jspecify.annotations.Nullable;

/**
 * The first bytes of a connection, by which somebody is recognised who is no MTA: a load balancer,
 * a health check, a browser. No MTA begins like this, since it would announce a packet of hundreds
 * of megabytes.
 */
final class Probe {
  /** Enough for a request line of a health check. */
  private static final int MOST = 64;

  private static final Pattern HTTP =
      Pattern.compile("(GET|HEAD|POST|PUT|DELETE|OPTIONS|TRACE|CONNECT|PATCH|PRI) [!-~]*.*");

  private final byte[] bytes = new byte[MOST];
  private int length;

  /** Takes what has come, and leaves it where it is. */
  void take(ByteBuffer input) {
    int more = Math.min(input.remaining(), MOST - length);
    input.get(input.position(), bytes, length, more);
    length += more;
  }

  boolean isEmpty() {
    return length == 0;
  }

  /** {@return what the bytes are, in words for a log, or null if they are nothing that is known} */
  @Nullable String kind() {
    String line = new String(bytes, 0, length, StandardCharsets.ISO_8859_1).split("\\R", 2)[0];
    if (HTTP.matcher(line).matches()) {
      return "an HTTP request: " + line;
    }
    boolean isHandshake =
        length >= 3 && bytes[0] == 0x16 && bytes[1] == 3 && bytes[2] >= 0 && bytes[2] <= 4;
    return isHandshake ? "a TLS handshake" : null;
  }
}
