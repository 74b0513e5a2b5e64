package temse.transport;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.UnixDomainSocketAddress;
import java.net.UnknownHostException;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

class EndpointTest {

  @ParameterizedTest
  @CsvSource({
    "inet:20025@127.0.0.1,        inet:20025@127.0.0.1",
    "inet:20025@localhost,        inet:20025@localhost",
    "inet:8891@[127.0.0.1],       inet:8891@127.0.0.1",
    "INET:20025@mail.example,     inet:20025@mail.example",
    "inet:20025,                  inet:20025",
    "inet:0@127.0.0.1,            inet:0@127.0.0.1",
    "inet:65535,                  inet:65535",
    "inet6:20025,                 inet6:20025",
    "inet:8891,                   inet:8891",
    "inet:8891@localhost,         inet:8891@localhost",
    "inet6:8891@[::1],            inet6:8891@[::1]",
    "inet6:20025@[::1],           inet6:20025@[::1]",
    "inet6:20025@::1,             inet6:20025@[::1]",
    "inet6:20025@[IPv6:::1],      inet6:20025@[::1]",
    "inet6:20025@[ipv6:2001:db8::1], inet6:20025@[2001:db8::1]",
    "inet:127.0.0.1:20025,        inet:20025@127.0.0.1",
    "inet:localhost:20025,        inet:20025@localhost",
    "inet6:[::1]:20025,           inet6:20025@[::1]",
    "20025,                       inet:20025@127.0.0.1",
    "0,                           inet:0@127.0.0.1",
    "unix:/run/x,                 unix:/run/x",
    "local:/run/x,                unix:/run/x",
    "Local:/run/x,                unix:/run/x",
    "/run/x,                      unix:/run/x",
    "/run/a:b@c,                  unix:/run/a:b@c",
    "unix:run/x,                  unix:run/x",
    "' 20025 ',                   inet:20025@127.0.0.1",
  })
  @Tag("L1")
  void understandsTheNotationsOfMtas(String text, String canonical) {
    Endpoint endpoint = Endpoint.parse(text);
    assertEquals(canonical, endpoint.toString());
    assertEquals(endpoint, Endpoint.parse(canonical));
  }

  @ParameterizedTest
  @CsvSource({
    "'',                  it is empty",
    "' ',                 it is empty",
    "foo:1@h,             unknown protocol",
    "fd:3,                unknown protocol",
    "127.0.0.1:20025,     unknown protocol",
    "inet:,               not a port number",
    "inet:@host,          not a port number",
    "inet:smtp@localhost, not a port number",
    "inet:-1@localhost,   not a port number",
    "inet:99999@localhost,not between 0 and 65535",
    "inet:20025@,         not a host",
    "inet6:20025@[],      not a host",
    "inet6:20025@[::1,    not a host",
    "inet:20025@a b,      not a host",
    "inet:20025@a@b,      not a host",
    "inet6:[::1],         there is no port",
    "inet:localhost:,     not a port number",
    "-5,                  not a port number",
    "localhost,           not a port number",
    "unix:,               a socket path has",
  })
  @Tag("L2")
  void saysWhatIsWrongAndShowsTheForms(String text, String problem) {
    IllegalArgumentException e =
        assertThrows(IllegalArgumentException.class, () -> Endpoint.parse(text));
    assertTrue(e.getMessage().contains(problem), e.getMessage());
    assertTrue(e.getMessage().contains("\"" + text + "\""), e.getMessage());
    assertTrue(e.getMessage().contains("inet:PORT@HOST"), e.getMessage());
  }

  @Test
  @Tag("L2")
  void limitsTheBytesOfAPath() {
    String longest = "/" + "a".repeat(105);
    assertEquals("unix:" + longest, Endpoint.parse(longest).toString());
    IllegalArgumentException e =
        assertThrows(IllegalArgumentException.class, () -> Endpoint.parse(longest + "a"));
    assertTrue(e.getMessage().contains("1 to 106 bytes, not 107"), e.getMessage());
  }

  @Test
  void resolvesToSocketAddresses() throws Exception {
    assertEquals(
        new InetSocketAddress(InetAddress.getByName("127.0.0.1"), 25),
        Endpoint.parse("inet:25@127.0.0.1").address());
    assertEquals(
        new InetSocketAddress(InetAddress.getByName("0.0.0.0"), 25),
        Endpoint.parse("inet:25").address());
    assertEquals(
        new InetSocketAddress(InetAddress.getByName("::"), 25),
        Endpoint.parse("inet6:25").address());
    assertEquals(UnixDomainSocketAddress.of("/run/x"), Endpoint.parse("/run/x").address());
  }

  @ParameterizedTest
  @ValueSource(strings = {"inet:25@::1", "inet6:25@127.0.0.1"})
  void refusesAnAddressOfTheOtherFamily(String text) {
    assertThrows(UnknownHostException.class, () -> Endpoint.parse(text).address());
  }

  @Test
  void describesSocketAddresses() throws Exception {
    InetAddress v6 = InetAddress.getByName("::1");
    assertEquals("inet:7@127.0.0.1", Endpoint.describe(new InetSocketAddress("127.0.0.1", 7)));
    assertEquals(
        Endpoint.parse("inet6:7@[0:0:0:0:0:0:0:1]").toString(),
        Endpoint.describe(new InetSocketAddress(v6, 7)));
    assertEquals("unix:/run/x", Endpoint.describe(UnixDomainSocketAddress.of("/run/x")));
    assertEquals("unix:", Endpoint.describe(UnixDomainSocketAddress.of("")));
  }
}
