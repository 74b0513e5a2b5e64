package temse.transport;

import java.io.IOException;
import java.net.Inet4Address;
import java.net.Inet6Address;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.SocketAddress;
import java.net.UnixDomainSocketAddress;
import java.net.UnknownHostException;
import java.nio.charset.StandardCharsets;
import java.nio.file.InvalidPathException;
import java.nio.file.Path;
import java.util.Locale;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.jspecify.annotations.Nullable;

/**
 * Where a server listens or a client connects, in the notation of libmilter's {@code smfi_setconn}
 * and of Postfix. Its string form is libmilter's and parses to an equal endpoint.
 *
 * <pre>
 * inet:20025@127.0.0.1   inet:20025@mail.example   inet6:20025@[::1]
 * inet:20025             all IPv4 addresses (inet6: all addresses)
 * inet:127.0.0.1:20025   as Postfix writes it
 * 20025                  port 20025 of 127.0.0.1
 * unix:/run/temse.sock   local:/run/temse.sock   /run/temse.sock
 * </pre>
 *
 * Port 0 stands for any free port. Host names are looked up when a socket is opened. A server may
 * also listen on the socket that its process {@linkplain Inherited inherits}: see {@link
 * #parseListening}.
 */
public sealed interface Endpoint {

  /**
   * A TCP port.
   *
   * @param v6 whether the host is looked up as an IPv6 address
   * @param host a name or a literal address without brackets, or null for all addresses
   * @param port 0 to 65535
   */
  record Inet(boolean v6, @Nullable String host, int port) implements Endpoint {
    /**
     * Checks the port.
     *
     * @param v6 true if the host is looked up as IPv6
     * @param host a name or an address, or null for all addresses
     * @param port 0 to 65535
     */
    public Inet {
      if (port < 0 || port > 0xFFFF) {
        throw new IllegalArgumentException("port " + port + " is not between 0 and 65535");
      }
    }

    @Override
    public InetSocketAddress address() throws UnknownHostException {
      if (host == null) {
        return new InetSocketAddress(InetAddress.getByName(v6 ? "::" : "0.0.0.0"), port);
      }
      Class<?> family = v6 ? Inet6Address.class : Inet4Address.class;
      for (InetAddress address : InetAddress.getAllByName(host)) {
        if (family.isInstance(address)) {
          return new InetSocketAddress(address, port);
        }
      }
      throw new UnknownHostException(host + " has no " + (v6 ? "IPv6" : "IPv4") + " address");
    }

    @Override
    public String toString() {
      String at = host == null ? "" : host.indexOf(':') < 0 ? "@" + host : "@[" + host + "]";
      return (v6 ? "inet6:" : "inet:") + port + at;
    }
  }

  /**
   * A Unix-domain socket.
   *
   * @param path at most 106 bytes long; to listen there, its directory at most 98
   */
  record Unix(Path path) implements Endpoint {
    /** The longest path that a socket can be bound to, in bytes. */
    public static final int LONGEST_PATH = 106;

    /**
     * Checks the length of the path.
     *
     * @param path short enough for the system: about 100 bytes
     */
    public Unix {
      int length = path.toString().getBytes(StandardCharsets.UTF_8).length;
      if (length == 0 || length > LONGEST_PATH) {
        throw new IllegalArgumentException(
            "a socket path has 1 to " + LONGEST_PATH + " bytes, not " + length + ": " + path);
      }
    }

    @Override
    public UnixDomainSocketAddress address() {
      return UnixDomainSocketAddress.of(path);
    }

    @Override
    public String toString() {
      return "unix:" + path;
    }
  }

  /**
   * The listening socket, TCP or Unix-domain, that the process has inherited as its standard input:
   * {@link System#inheritedChannel}. Where it listens is decided by whoever has started the
   * process, such as systemd.
   */
  record Inherited() implements Endpoint {
    /** Makes an endpoint for the inherited socket, which is looked for when a server starts. */
    public Inherited {}

    /**
     * Throws, since nobody can connect to it by this name.
     *
     * @throws IOException always
     */
    @Override
    public SocketAddress address() throws IOException {
      throw new IOException(
          "a server may listen on the socket that its process inherits, but nobody can connect to"
              + " it by this name; give the address that it is bound to");
    }

    @Override
    public String toString() {
      return INHERITED;
    }
  }

  /** How the {@link Inherited} socket is written: {@code inherited}. */
  String INHERITED = "inherited";

  /**
   * {@return the socket address, looking up the host name}
   *
   * @throws UnknownHostException if there is no such host or it has no address of the family
   * @throws IOException if it is the {@link Inherited} one
   */
  SocketAddress address() throws IOException;

  /**
   * {@return the endpoint that {@code text} describes} The protocol may be in any case; {@code
   * [127.0.0.1]} and {@code [IPv6:::1]} are accepted as hosts.
   *
   * @param text such as {@code inet:20025@127.0.0.1} or {@code unix:/run/filter.sock}
   * @throws IllegalArgumentException that says what is wrong and shows the forms
   */
  static Endpoint parse(String text) {
    try {
      return Notation.parse(text.strip());
    } catch (IllegalArgumentException e) {
      throw new IllegalArgumentException(
          "cannot understand the address \"" + text + "\": " + e.getMessage() + Notation.FORMS, e);
    }
  }

  /**
   * {@return the endpoint that {@code text} describes to a server: as {@link #parse} has it, or the
   * {@link Inherited} one}
   *
   * @param text {@code inherited}, in any case, or such as {@code inet:20025@127.0.0.1}
   * @throws IllegalArgumentException that says what is wrong and shows the forms
   */
  static Endpoint parseListening(String text) {
    return text.strip().equalsIgnoreCase(INHERITED) ? new Inherited() : parse(text);
  }

  /**
   * {@return the endpoint at which a socket is bound, with the address in numbers; the {@link
   * Inherited} one if its name is none that can be connected to}
   *
   * @param address of a socket that is bound
   */
  static Endpoint of(SocketAddress address) {
    if (address instanceof InetSocketAddress inet) {
      InetAddress host = inet.getAddress();
      return new Inet(
          host instanceof Inet6Address,
          host.isAnyLocalAddress() ? null : host.getHostAddress(),
          inet.getPort());
    }
    return address instanceof UnixDomainSocketAddress unix && unix.getPath().isAbsolute()
        ? new Unix(unix.getPath())
        : new Inherited();
  }

  /**
   * {@return a socket's address in the same notation, for logs}
   *
   * @param address null for none
   */
  static String describe(@Nullable SocketAddress address) {
    if (address instanceof InetSocketAddress inet) {
      InetAddress host = inet.getAddress();
      return new Inet(host instanceof Inet6Address, host.getHostAddress(), inet.getPort())
          .toString();
    }
    return "unix:" + (address == null ? "" : address);
  }
}

/** The grammar of {@link Endpoint#parse}. */
final class Notation {
  static final String FORMS =
      "; write inet:PORT@HOST, inet6:PORT@[ADDRESS], inet:PORT (all addresses), inet:HOST:PORT,"
          + " unix:PATH, local:PATH, a path beginning with /, or a port of 127.0.0.1";

  private static final Pattern SPEC = Pattern.compile("([^:/@]+):(.*)", Pattern.DOTALL);
  private static final Pattern PORT_AT_HOST = Pattern.compile("([^@:]*)(?:@(.*))?");
  private static final Pattern HOST_AND_PORT = Pattern.compile("(.+):([^:\\]]*)");

  private Notation() {}

  static Endpoint parse(String text) {
    if (text.isEmpty()) {
      throw new IllegalArgumentException("it is empty");
    }
    if (text.startsWith("/")) {
      return unix(text);
    }
    Matcher spec = SPEC.matcher(text);
    if (!spec.matches()) {
      return new Endpoint.Inet(false, "127.0.0.1", port(text));
    }
    String rest = spec.group(2);
    return switch (spec.group(1).toLowerCase(Locale.ROOT)) {
      case "inet" -> inet(false, rest);
      case "inet6" -> inet(true, rest);
      case "unix", "local" -> unix(rest);
      default -> throw new IllegalArgumentException("unknown protocol \"" + spec.group(1) + "\"");
    };
  }

  private static Endpoint unix(String path) {
    try {
      return new Endpoint.Unix(Path.of(path));
    } catch (InvalidPathException e) {
      throw new IllegalArgumentException(e.getMessage(), e);
    }
  }

  private static Endpoint inet(boolean v6, String text) {
    Matcher matcher = PORT_AT_HOST.matcher(text);
    if (matcher.matches()) {
      String host = matcher.group(2);
      return new Endpoint.Inet(v6, host == null ? null : host(host), port(matcher.group(1)));
    }
    matcher = HOST_AND_PORT.matcher(text);
    if (matcher.matches()) {
      return new Endpoint.Inet(v6, host(matcher.group(1)), port(matcher.group(2)));
    }
    throw new IllegalArgumentException("there is no port");
  }

  private static String host(String text) {
    String host = text;
    if (text.startsWith("[") && text.endsWith("]")) {
      host = text.substring(1, text.length() - 1);
      if (host.regionMatches(true, 0, "IPv6:", 0, 5)) {
        host = host.substring(5);
      }
    }
    if (host.isEmpty() || host.matches(".*[\\[\\]@/\\s].*")) {
      throw new IllegalArgumentException("\"" + text + "\" is not a host");
    }
    return host;
  }

  private static int port(String text) {
    if (!text.matches("[0-9]{1,5}")) {
      throw new IllegalArgumentException("\"" + text + "\" is not a port number");
    }
    return Integer.parseInt(text);
  }
}
