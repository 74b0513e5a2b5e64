package temse.protocol;

import java.util.List;
import java.util.Locale;
import java.util.Set;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * The ESMTP parameters that ask for delivery status notifications: {@code RET} and {@code ENVID} of
 * a sender, {@code NOTIFY} and {@code ORCPT} of a recipient (RFC 3461 section 4, RFC 6533 section 3
 * for addresses beyond ASCII).
 */
final class DsnParameter {
  private static final Set<String> CONDITIONS = Set.of("SUCCESS", "FAILURE", "DELAY");
  private static final int LONGEST_ENVID = 100;
  private static final int LONGEST_ORCPT = 500;
  private static final Pattern XTEXT = Pattern.compile("(?:[!-*,-<>-~]|\\+[0-9A-F]{2})+");
  private static final Pattern ORCPT = Pattern.compile("([A-Za-z0-9-]+);(.+)", Pattern.DOTALL);

  private DsnParameter() {}

  /**
   * Returns what would be right in place of a parameter such as {@code "NOTIFY=MAYBE"}, or null if
   * it obeys its grammar, or is another parameter.
   */
  static String correction(String parameter) {
    int sign = parameter.indexOf('=');
    String keyword = sign < 0 ? parameter : parameter.substring(0, sign);
    String value = sign < 0 ? "" : parameter.substring(sign + 1);
    return switch (keyword.toUpperCase(Locale.ROOT)) {
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
        beyondAscii ? address.replaceAll("[^\\x00-\\x7F]", "u") : address, LONGEST_ORCPT);
  }

  private static boolean isXtext(String text, int longest) {
    return text.length() <= longest && XTEXT.matcher(text).matches();
  }
}
