package temse.client;

import java.io.Closeable;
import java.io.IOException;
import java.time.Duration;
import temse.protocol.Packet;

/** What carries packets between the MTA side and a milter. */
interface Wire extends Closeable {
  /** Sends bytes, whole packets or parts of them. */
  void write(byte[] bytes) throws IOException;

  /**
   * Returns the next packet, or null if the milter has closed the connection.
   *
   * @throws IOException if none comes in time
   */
  Packet read(Duration timeout) throws IOException;

  /** Returns true if {@link #read} has a packet at once. */
  boolean hasPacket() throws IOException;
}
