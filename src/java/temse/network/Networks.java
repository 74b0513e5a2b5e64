package temse.network;

import clojure.lang.Keyword;
import java.math.BigInteger;
import java.net.InetAddress;
import java.net.UnknownHostException;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Comparator;
import java.util.Deque;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.TreeMap;
import java.util.regex.Pattern;
import org.jspecify.annotations.Nullable;
import temse.protocol.KnownKeys;
import temse.protocol.MilterException;
import temse.protocol.Printable;

/**
 * A set of IP networks, to be asked for the address of a client.
 *
 * <pre>{@code
 * Networks internal = Networks.of("192.0.2.0/24", "2001:db8::/32", "198.51.100.7");
 * internal.contains("192.0.2.9"); // true
 * internal.networkOf("2001:db8::1"); // Optional[2001:db8::/32]
 * }</pre>
 *
 * <p>Addresses are written as RFC 4291 section 2.2 says, or as four decimal numbers; a prefix
 * {@code IPv6:}, as in Sendmail's macros and in address literals of mails, is allowed. An
 * IPv4-mapped address such as {@code ::ffff:192.0.2.9} is the IPv4 address that it holds, and
 * networks of mapped addresses are networks of IPv4. {@code ::/0} has no IPv4 address in it.
 */
public final class Networks {
  private static final int LONGEST_SHOWN = 80;
  private static final Pattern LENGTH = Pattern.compile("[0-9]{1,3}");

  private final List<String> entries;
  private final TreeMap<byte[], Optional<String>> ipv4;
  private final TreeMap<byte[], Optional<String>> ipv6;

  private Networks(List<String> entries) {
    this.entries = entries;
    List<Network> found = new ArrayList<>();
    for (int place = 0; place < entries.size(); place++) {
      found.add(network(place, entries.get(place)));
    }
    ipv4 = table(found.stream().filter(network -> network.first.length == 4).toList());
    ipv6 = table(found.stream().filter(network -> network.first.length == 16).toList());
  }

  /**
   * {@return a set of networks such as {@code 192.0.2.0/24} and {@code 2001:db8::/32}, and single
   * addresses} They may lie within each other.
   *
   * @param entries networks with a prefix length, or addresses
   * @throws MilterException BAD_OPTIONS that names the entry if one is no network, or has bits
   *     beyond its prefix as in {@code 192.0.2.1/24}
   */
  public static Networks of(String... entries) {
    return of(List.of(entries));
  }

  /**
   * {@return a set of networks, as above}
   *
   * @param entries networks with a prefix length, or addresses
   * @throws MilterException BAD_OPTIONS as above
   */
  public static Networks of(List<String> entries) {
    return new Networks(List.copyOf(entries));
  }

  /**
   * {@return true if an address is in one of the networks; false also for what is no IP address,
   * such as the path of a socket} It takes time in proportion to the logarithm of the number of
   * networks.
   *
   * @param address in numbers, IPv4 or IPv6
   */
  public boolean contains(String address) {
    return networkOf(address).isPresent();
  }

  /**
   * {@return true if an address is in one of the networks, whatever its scope}
   *
   * @param address IPv4 or IPv6
   */
  public boolean contains(InetAddress address) {
    return contains(text(address.getAddress()));
  }

  /**
   * {@return the entry, as it was given, whose network an address is in, the narrowest one; empty
   * if it is in none, or is no IP address}
   *
   * @param address in numbers, IPv4 or IPv6
   */
  public Optional<String> networkOf(String address) {
    Address found = Address.of(address);
    if (found == null) {
      return Optional.empty();
    }
    Map.Entry<byte[], Optional<String>> entry =
        (found.octets().length == 4 ? ipv4 : ipv6).floorEntry(found.octets());
    return entry == null ? Optional.empty() : entry.getValue();
  }

  /**
   * {@return the network of a prefix length that an address is in, so that the addresses of one
   * site count as one; empty for what is no IP address}
   *
   * <pre>{@code
   * Networks.around("192.0.2.77", 24, 64); // Optional[192.0.2.0/24]
   * }</pre>
   *
   * @param address in numbers, IPv4 or IPv6
   * @param ipv4Length 0 to 32
   * @param ipv6Length 0 to 128; a site usually has a /64
   */
  public static Optional<String> around(String address, int ipv4Length, int ipv6Length) {
    Address found = Address.of(address);
    if (found == null) {
      return Optional.empty();
    }
    int length = found.octets().length == 4 ? ipv4Length : ipv6Length;
    return Optional.of(text(first(found.octets(), length)) + "/" + length);
  }

  /** {@return the entries as they were given} */
  public List<String> entries() {
    return entries;
  }

  @Override
  public String toString() {
    return entries.size() + " networks";
  }

  // ---- entries

  private record Network(String entry, byte[] first, byte[] last, int length) {}

  private static Network network(int place, String entry) {
    int slash = entry.indexOf('/');
    Address address = Address.of(slash < 0 ? entry : entry.substring(0, slash));
    String length = slash < 0 ? null : entry.substring(slash + 1);
    if (address == null || length != null && length.indexOf('/') >= 0) {
      throw bad(
          place,
          entry,
          "is no network: write an IP address, alone or with the length of its prefix, such as"
              + " \"192.0.2.0/24\" or \"2001:db8::/32\"; names are not looked up");
    }
    byte[] octets = address.octets();
    int bits = 8 * octets.length;
    int leftOut = address.bitsLeftOut();
    int given = bits;
    if (length != null) {
      given = LENGTH.matcher(length).matches() ? Integer.parseInt(length) - leftOut : -1;
      if (given < 0 || given > bits) {
        throw bad(
            place,
            entry,
            "has a prefix of a wrong length: it must be " + leftOut + " to " + (bits + leftOut));
      }
    }
    byte[] first = first(octets, given);
    byte[] last = octets.clone();
    for (int i = 0; i < octets.length; i++) {
      last[i] |= (byte) ~mask(i, given);
    }
    if (!Arrays.equals(first, octets)) {
      String meant = (leftOut > 0 ? "::ffff:" : "") + text(first) + "/" + (given + leftOut);
      throw bad(
          place,
          entry,
          "has bits beyond its prefix"
              + KnownKeys.didYouMean(Printable.quoted(meant, LONGEST_SHOWN)));
    }
    return new Network(entry, first, last, given);
  }

  private static byte[] first(byte[] octets, int length) {
    byte[] first = octets.clone();
    for (int i = 0; i < octets.length; i++) {
      first[i] &= (byte) mask(i, length);
    }
    return first;
  }

  /** {@return the bits of the octet at a place that belong to a prefix} */
  private static int mask(int place, int length) {
    return 0xFF & 0xFF << 8 - Math.max(0, Math.min(8, length - 8 * place));
  }

  private static String text(byte[] octets) {
    try {
      return InetAddress.getByAddress(octets).getHostAddress();
    } catch (UnknownHostException e) {
      throw new IllegalStateException(e);
    }
  }

  private static MilterException bad(int place, String entry, String problem) {
    return new MilterException(
        MilterException.Category.BAD_OPTIONS,
        "in networks, entry "
            + (place + 1)
            + ", "
            + Printable.quoted(entry, LONGEST_SHOWN)
            + ", "
            + problem,
        "option",
        Keyword.intern("networks"),
        "value",
        entry);
  }

  // ---- lookup

  /**
   * Returns the entry of the narrowest network by the address from which on it holds, up to the
   * next address in the table; empty where none does. Two networks are apart, or one is within the
   * other.
   */
  private static TreeMap<byte[], Optional<String>> table(List<Network> networks) {
    TreeMap<byte[], Optional<String>> table = new TreeMap<>(Arrays::compareUnsigned);
    List<Network> sorted = new ArrayList<>(networks);
    sorted.sort(
        Comparator.<Network, byte[]>comparing(network -> network.first, Arrays::compareUnsigned)
            .thenComparing(network -> network.length));
    Deque<Network> open = new ArrayDeque<>();
    for (Network network : sorted) {
      leave(table, open, network.first);
      table.put(network.first, Optional.of(network.entry));
      open.push(network);
    }
    leave(table, open, null);
    return table;
  }

  /**
   * Leaves the networks that end before an address, null being beyond all: behind each the next
   * wider one goes on.
   */
  private static void leave(
      TreeMap<byte[], Optional<String>> table, Deque<Network> open, byte @Nullable [] address) {
    while (!open.isEmpty()
        && (address == null || Arrays.compareUnsigned(open.peek().last, address) < 0)) {
      byte[] next = successor(open.pop().last);
      if (next != null) {
        table.put(next, Optional.ofNullable(open.peek()).map(Network::entry));
      }
    }
  }

  /** {@return the address after one, or null after the last} */
  private static byte @Nullable [] successor(byte[] octets) {
    BigInteger next = new BigInteger(1, octets).add(BigInteger.ONE);
    if (next.bitLength() > 8 * octets.length) {
      return null;
    }
    byte[] digits = next.toByteArray();
    byte[] all = new byte[octets.length];
    int length = Math.min(digits.length, all.length);
    System.arraycopy(digits, digits.length - length, all, all.length - length, length);
    return all;
  }
}
