package temse.protocol;

import clojure.lang.IPersistentMap;
import clojure.lang.PersistentArrayMap;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Locale;
import java.util.Set;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * The text of {@code SMFIR_REPLYCODE}: a complete SMTP reply (RFC 5321 section 4.2) with an
 * optional enhanced status code (RFC 3463).
 *
 * <p>The rules are the union of what libmilter, Sendmail and Postfix check: codes 400 to 599, the
 * enhanced code's class equal to the code's, 1 to 32 lines of at most 980 bytes. The MTA treats the
 * text as a printf format, so every {@code %} is doubled on the wire.
 */
final class ReplyText {
  private static final int MAXIMUM_LINES = 32;
  private static final int MAXIMUM_LINE_BYTES = 980;
  private static final Pattern ENHANCED = Pattern.compile("([245])\\.\\d{1,3}\\.\\d{1,3}");
  private static final Pattern LINE =
      Pattern.compile(
          "(\\d{3})(?:[ -](?:([245]\\.\\d{1,3}\\.\\d{1,3})(?: |$))?)?(.*)", Pattern.DOTALL);

  private ReplyText() {}

  /**
   * Returns the reply as it travels, lines separated by CR LF.
   *
   * <p>Lines of the text are separated by LF or CR LF. Without an enhanced code several lines get
   * 4.0.0 or 5.0.0, as libmilter's {@code smfi_setmlreply} does, and so does a text that Postfix
   * would refuse, since it takes the digit at its beginning for the class of an enhanced code.
   *
   * @throws MilterException BAD_ACTION, with what would be right
   */
  static String format(long smtpCode, String enhancedCode, String text) {
    if (smtpCode < 400 || smtpCode > 599) {
      throw bad("the SMTP code is " + smtpCode + ", it must be from 400 to 599");
    }
    String[] lines = text.split("\r?\n", -1);
    if (lines.length > MAXIMUM_LINES) {
      throw bad("the text has " + lines.length + " lines, the limit is " + MAXIMUM_LINES);
    }
    boolean wanted = lines.length > 1 || looksLikeOtherClass(smtpCode, text);
    String enhanced = enhancedCode == null && wanted ? smtpCode / 100 + ".0.0" : enhancedCode;
    if (enhanced != null) {
      checkEnhanced(smtpCode, enhanced);
    }
    StringBuilder reply = new StringBuilder();
    for (int i = 0; i < lines.length; i++) {
      checkLine(lines[i]);
      boolean last = i == lines.length - 1;
      reply.append(smtpCode).append(last ? ' ' : '-');
      if (enhanced != null) {
        reply.append(enhanced).append(' ');
      }
      reply.append(lines[i].replace("%", "%%")).append(last ? "" : "\r\n");
    }
    return reply.toString();
  }

  /**
   * Returns the action map of a reply as it travels. The enhanced code is the one that all lines
   * have; codes that differ stay in the text.
   *
   * @throws MilterException MALFORMED_PACKET if it does not begin with three digits
   */
  static IPersistentMap parse(String reply) {
    Long code = null;
    Set<String> codes = new HashSet<>();
    List<String> texts = new ArrayList<>();
    List<String> textsWithCodes = new ArrayList<>();
    for (String line : reply.split("\r\n", -1)) {
      Matcher parts = LINE.matcher(line);
      if (!parts.matches()) {
        throw new MilterException(
            MilterException.Category.MALFORMED_PACKET,
            "a reply must begin with three digits, this one does not: " + line);
      }
      code = Long.valueOf(parts.group(1));
      codes.add(parts.group(2));
      texts.add(parts.group(3));
      textsWithCodes.add(parts.group(2) == null ? parts.group(3) : line.substring(parts.start(2)));
    }
    String enhanced = codes.size() == 1 ? codes.iterator().next() : null;
    String text = String.join("\n", enhanced == null ? textsWithCodes : texts).replace("%%", "%");
    return new PersistentArrayMap(
        enhanced == null
            ? new Object[] {
              Keys.ACTION, ActionType.REPLY_CODE.keyword, Keys.SMTP_CODE, code, Keys.TEXT, text
            }
            : new Object[] {
              Keys.ACTION,
              ActionType.REPLY_CODE.keyword,
              Keys.SMTP_CODE,
              code,
              Keys.ENHANCED_CODE,
              enhanced,
              Keys.TEXT,
              text
            });
  }

  private static boolean looksLikeOtherClass(long smtpCode, String text) {
    char start = text.isEmpty() ? ' ' : text.charAt(0);
    return start >= '0' && start <= '9' && start != '0' + smtpCode / 100;
  }

  private static void checkEnhanced(long smtpCode, String enhanced) {
    Matcher parts = ENHANCED.matcher(enhanced);
    if (!parts.matches()) {
      throw bad("the enhanced code is \"" + enhanced + "\", it must look like \"5.7.1\"");
    }
    if (Long.parseLong(parts.group(1)) != smtpCode / 100) {
      throw bad(
          "the enhanced code "
              + enhanced
              + " is of another class than the SMTP code "
              + smtpCode
              + "; it must begin with "
              + smtpCode / 100);
    }
  }

  private static void checkLine(String line) {
    for (int i = 0; i < line.length(); i++) {
      char c = line.charAt(i);
      if (c < ' ' && c != '\t' || c == 0x7F) {
        throw bad(
            String.format(
                Locale.ROOT,
                "the text holds the control character 0x%02X; lines are separated by \\n",
                (int) c));
      }
    }
    int size = Text.encode(line).length;
    if (size > MAXIMUM_LINE_BYTES) {
      throw bad("a line of the text has " + size + " bytes, the limit is " + MAXIMUM_LINE_BYTES);
    }
  }

  private static MilterException bad(String problem) {
    return new MilterException(
        MilterException.Category.BAD_ACTION, ":reply-code: " + problem, "problem", problem);
  }
}
