package temse.network;

import java.util.Arrays;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.jspecify.annotations.Nullable;

/**
 * An IP address that was read.
 *
 * @param octets four or sixteen
 * @param bitsLeftOut how many bits of an IPv4-mapped address were left out before them
 */
record Address(byte[] octets, int bitsLeftOut) {
  /** Characters of an address: more are none. */
  private static final int LONGEST = 64;

  private static final String OCTET = "(0|[1-9][0-9]{0,2})";

  private static final Pattern IPV4 =
      Pattern.compile(OCTET + "\\." + OCTET + "\\." + OCTET + "\\." + OCTET);

  private static final Pattern GROUP = Pattern.compile("[0-9A-Fa-f]{1,4}");

  private static final String PREFIX = "IPv6:";

  /** Returns the address, or null if the text is none. */
  static @Nullable Address of(String text) {
    if (text.length() > LONGEST) {
      return null;
    }
    boolean prefixed = text.regionMatches(true, 0, PREFIX, 0, PREFIX.length());
    byte[] ipv4 = prefixed ? null : ipv4(text);
    if (ipv4 != null) {
      return new Address(ipv4, 0);
    }
    byte[] ipv6 = ipv6(prefixed ? text.substring(PREFIX.length()) : text);
    if (ipv6 == null) {
      return null;
    }
    return isMapped(ipv6)
        ? new Address(Arrays.copyOfRange(ipv6, 12, 16), 96)
        : new Address(ipv6, 0);
  }

  private static byte @Nullable [] ipv4(String text) {
    Matcher matcher = IPV4.matcher(text);
    if (!matcher.matches()) {
      return null;
    }
    byte[] octets = new byte[4];
    for (int i = 0; i < 4; i++) {
      int octet = Integer.parseInt(matcher.group(i + 1));
      if (octet > 255) {
        return null;
      }
      octets[i] = (byte) octet;
    }
    return octets;
  }

  private static byte @Nullable [] ipv6(String text) {
    int gap = text.indexOf("::");
    if (gap < 0) {
      byte[] all = groups(text);
      return all != null && all.length == 16 ? all : null;
    }
    String head = text.substring(0, gap);
    byte[] before = groups(head);
    byte[] after = groups(text.substring(gap + 2));
    boolean ipv4BeforeGap = head.indexOf('.') >= 0;
    if (before == null || after == null || ipv4BeforeGap || before.length + after.length > 14) {
      return null;
    }
    byte[] all = Arrays.copyOf(before, 16);
    System.arraycopy(after, 0, all, 16 - after.length, after.length);
    return all;
  }

  /**
   * Returns the octets of what is on one side of a ::, or null. The last may be an IPv4 address.
   */
  private static byte @Nullable [] groups(String text) {
    if (text.isEmpty()) {
      return new byte[0];
    }
    String[] parts = text.split(":", -1);
    byte[] octets = new byte[0];
    for (int i = 0; i < parts.length; i++) {
      byte[] more = null;
      if (GROUP.matcher(parts[i]).matches()) {
        int number = Integer.parseInt(parts[i], 16);
        more = new byte[] {(byte) (number >> 8), (byte) number};
      } else if (i == parts.length - 1) {
        more = ipv4(parts[i]);
      }
      if (more == null) {
        return null;
      }
      int length = octets.length;
      octets = Arrays.copyOf(octets, length + more.length);
      System.arraycopy(more, 0, octets, length, more.length);
    }
    return octets;
  }

  private static boolean isMapped(byte[] ipv6) {
    for (int i = 0; i < 10; i++) {
      if (ipv6[i] != 0) {
        return false;
      }
    }
    return ipv6[10] == (byte) 0xFF && ipv6[11] == (byte) 0xFF;
  }
}
