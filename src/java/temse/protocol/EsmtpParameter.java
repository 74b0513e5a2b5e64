package temse.protocol;

import java.util.List;
import java.util.Locale;
import java.util.Set;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * The ESMTP parameters that both MTAs know, and their grammar. Those of delivery status
 * notifications are {@code RET} and {@code ENVID} of a sender, {@code NOTIFY} and {@code ORCPT} of
 * a recipient (RFC 3461 section 4, RFC 6533 section 3 for addresses beyond ASCII); the others are
 * {@code SIZE} (RFC 1870), {@code BODY} (RFC 6152, RFC 3030), {@code AUTH} (RFC 4954) and {@code
 * BY} (RFC 2852).
 */
final class EsmtpParameter {
  private static final Set<String> KNOWN =
      Set.of("RET", "ENVID", "NOTIFY", "ORCPT", "SIZE", "BODY", "AUTH", "BY");
  private static final Set<String> CONDITIONS = Set.of("SUCCESS", "FAILURE", "DELAY");
  private static final int LONGEST_ENVID = 100;
  private static final int LONGEST_ADDRESS = 500;
  private static final Pattern XTEXT =
      Pattern.compile("(?:[!-*,-<>-~]|\\+(?:[2-6][0-9A-F]|7[0-9A-E]))+");
  private static final Pattern ORCPT = Pattern.compile("([A-Za-z0-9-]+);(.+)", Pattern.DOTALL);

  private EsmtpParameter() {}

  /** Returns true if the grammar of the parameter is known here. */
  static boolean isKnown(String parameter) {
    return KNOWN.contains(keyword(parameter));
  }

  /** Returns the keyword of a parameter, in upper case. */
  static String keyword(String parameter) {
    int sign = parameter.indexOf('=');
    return (sign < 0 ? parameter : parameter.substring(0, sign)).toUpperCase(Locale.ROOT);
  }

  /**
   * Returns what would be right in place of a parameter such as {@code "NOTIFY=MAYBE"}, or null if
   * it obeys its grammar, or is another parameter.
   */
  static String correction(String parameter) {
    String keyword = keyword(parameter);
    String value = parameter.substring(Math.min(parameter.length(), keyword.length() + 1));
    return switch (keyword) {
      case "RET" ->
          value.equalsIgnoreCase("FULL") || value.equalsIgnoreCase("HDRS")
              ? null
              : "RET=FULL or RET=HDRS";
      case "ENVID" ->
          isXtext(value, LONGEST_ENVID)
              ? null
              : "ENVID= and up to 100 characters of xtext, such as ENVID=QQ314159";
      case "NOTIFY" ->
          isNotify(value.toUpperCase(Locale.ROOT))
              ? null
              : "NOTIFY=NEVER, or NOTIFY= and some of SUCCESS,FAILURE,DELAY";
      case "ORCPT" ->
          isOriginalRecipient(value)
              ? null
              : "ORCPT= and an address type, a semicolon and up to 500 characters of xtext, such as"
                  + " ORCPT=rfc822;bob@example.com";
      case "SIZE" -> value.matches("[0-9]{1,20}") ? null : "SIZE= and a number of bytes";
      case "BODY" ->
          value.matches("(?i)7BIT|8BITMIME|BINARYMIME")
              ? null
              : "BODY=7BIT, BODY=8BITMIME or BODY=BINARYMIME";
      case "AUTH" ->
          value.equals("<>") || isXtext(value, LONGEST_ADDRESS)
              ? null
              : "AUTH=<>, or AUTH= and an address as xtext, such as AUTH=bob@example.com";
      case "BY" ->
          value.matches("(?i)-?[0-9]{1,9};[NR]T?")
              ? null
              : "BY= and seconds and a mode, such as BY=120;R";
      default -> null;
    };
  }

  private static boolean isNotify(String value) {
    return value.equals("NEVER") || CONDITIONS.containsAll(List.of(value.split(",", -1)));
  }

  private static boolean isOriginalRecipient(String value) {
    Matcher matcher = ORCPT.matcher(value);
    if (!matcher.matches()) {
      return false;
    }
    String address = matcher.group(2);
    boolean beyondAscii = matcher.group(1).equalsIgnoreCase("utf-8");
    return isXtext(
        beyondAscii ? address.replaceAll("[^\\x00-\\x7F]", "u") : address, LONGEST_ADDRESS);
  }

  private static boolean isXtext(String text, int longest) {
    return text.length() <= longest && XTEXT.matcher(text).matches();
  }
}
