package temse.transport.internal;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.net.SocketOption;
import java.net.StandardSocketOptions;
import java.nio.channels.SocketChannel;
import java.util.Set;
import java.util.TreeMap;
import org.junit.jupiter.api.Test;

class KeepAliveTest {
  private static final Set<String> NAMES =
      Set.of("TCP_KEEPIDLE", "TCP_KEEPINTERVAL", "TCP_KEEPCOUNT");

  @Test
  void aMachineThatIsGoneIsMissedAfterFiveMinutes() throws IOException {
    try (SocketChannel channel = SocketChannel.open()) {
      Sockets.configure(channel);
      assertTrue(channel.getOption(StandardSocketOptions.SO_KEEPALIVE));
      TreeMap<String, Object> values = new TreeMap<>();
      for (SocketOption<?> option : channel.supportedOptions()) {
        if (NAMES.contains(option.name())) {
          values.put(option.name(), channel.getOption(option));
        }
      }
      assertEquals("{TCP_KEEPCOUNT=6, TCP_KEEPIDLE=120, TCP_KEEPINTERVAL=30}", values.toString());
    }
  }
}
