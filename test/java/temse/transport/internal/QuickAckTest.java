package temse.transport.internal;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNull;

import java.io.IOException;
import java.net.StandardProtocolFamily;
import java.nio.channels.SocketChannel;
import jdk.net.ExtendedSocketOptions;
import org.junit.jupiter.api.Test;

class QuickAckTest {
  @Test
  void tcpHasTheOptionWhereTheJdkHasIt() throws IOException {
    try (SocketChannel channel = SocketChannel.open()) {
      boolean supported = channel.supportedOptions().contains(ExtendedSocketOptions.TCP_QUICKACK);
      assertEquals(
          supported ? ExtendedSocketOptions.TCP_QUICKACK : null, Sockets.quickAck(channel));
    }
  }

  @Test
  void unixSocketsDoNot() throws IOException {
    try (SocketChannel channel = SocketChannel.open(StandardProtocolFamily.UNIX)) {
      assertNull(Sockets.quickAck(channel));
    }
  }
}
