package temse.bench;

import java.net.InetSocketAddress;
import java.net.SocketAddress;
import java.net.UnixDomainSocketAddress;

/** Socket addresses in libmilter's notation: {@code inet:PORT@HOST} and {@code unix:PATH}. */
final class Address {
  private Address() {}

  static SocketAddress parse(String text) {
    if (text.startsWith("unix:")) {
      return UnixDomainSocketAddress.of(text.substring("unix:".length()));
    }
    String[] portAndHost = text.substring("inet:".length()).split("@");
    return new InetSocketAddress(portAndHost[1], Integer.parseInt(portAndHost[0]));
  }
}
