package temse.mime;

import org.apache.james.mime4j.stream.MimeConfig;

/**
 * How much of a message is taken apart. What exceeds a limit is a part whose {@link
 * MimePart#reason} says so; nothing is lost and nothing is thrown.
 *
 * @param maxDepth how deep parts may lie in each other (default: 100, as Postfix has it)
 * @param maxParts how many parts a message may have (default: 10000)
 * @param maxHeaderBytes how many bytes the header of a part may have (default: 102400, as Postfix
 *     has it)
 */
public record MimeLimits(int maxDepth, int maxParts, int maxHeaderBytes) {
  /** The default of each limit. */
  public static final MimeLimits DEFAULT = new MimeLimits(100, 10_000, 102_400);

  /**
   * Checks the limits.
   *
   * @param maxDepth at least 1
   * @param maxParts at least 1
   * @param maxHeaderBytes at least 1
   * @throws IllegalArgumentException if one is below 1
   */
  public MimeLimits {
    if (maxDepth < 1 || maxParts < 1 || maxHeaderBytes < 1) {
      throw new IllegalArgumentException(
          "limits must be 1 or more: " + maxDepth + ", " + maxParts + ", " + maxHeaderBytes);
    }
  }

  /**
   * {@return the configuration for those who read mail with mime4j's own parser: the same limit of
   * a header, lines of any length, and a line that is no header field begins the body} mime4j has
   * no limits of depth and parts, and its time grows with the product of size and depth.
   */
  public MimeConfig mimeConfig() {
    return MimeConfig.custom()
        .setMaxLineLen(-1)
        .setMaxHeaderLen(maxHeaderBytes)
        .setMaxHeaderCount(maxHeaderBytes)
        .setMaxContentLen(-1)
        .setMalformedHeaderStartsBody(true)
        .build();
  }
}
