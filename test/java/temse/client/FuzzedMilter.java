package temse.client;

import clojure.lang.IPersistentMap;
import java.io.IOException;
import java.net.SocketTimeoutException;
import java.time.Duration;
import java.util.ArrayDeque;
import java.util.Deque;
import java.util.List;
import temse.fuzz.PacketLines;
import temse.protocol.Packet;
import temse.protocol.Text;

/**
 * A milter that sends the packets of an input, see {@link PacketLines}, whatever it is asked. An
 * empty line stands for a reply that does not come in time; behind the last line the milter closes
 * the connection.
 */
public final class FuzzedMilter implements Wire {
  private static final List<String> RECIPIENTS = List.of("<b@example.com>", "<c@example.com>");

  private final Deque<String> lines;
  private boolean closed;

  private FuzzedMilter(byte[] input) {
    this.lines = new ArrayDeque<>(PacketLines.of(input));
  }

  /**
   * Plays two mails of one client to the milter.
   *
   * @param input what the milter sends
   * @param style of the MTA
   * @param header of the mails, with its last line end
   * @return the report on the second, or null if the connection did not last
   */
  public static IPersistentMap report(byte[] input, MtaStyle style, String header) {
    Mail mail = Mail.parse("<a@example.org>", RECIPIENTS, Text.encode(header + "\nhello\n"));
    MtaOptions options = style == MtaStyle.POSTFIX ? MtaOptions.POSTFIX : MtaOptions.SENDMAIL;
    try (MtaSession session = new MtaSession(new FuzzedMilter(input), options)) {
      session.deliver(mail);
      return session.deliver(mail);
    } catch (IOException e) {
      return null;
    }
  }

  @Override
  public void write(byte[] bytes) throws IOException {
    if (closed) {
      throw new IOException("closed");
    }
  }

  @Override
  public Packet read(Duration timeout) throws IOException {
    String line = lines.poll();
    if (line == null) {
      return null;
    }
    if (line.isEmpty()) {
      throw new SocketTimeoutException("no reply");
    }
    return PacketLines.packet(line);
  }

  @Override
  public boolean hasPacket() {
    return !lines.isEmpty() && !lines.peek().isEmpty();
  }

  @Override
  public void close() {
    closed = true;
  }
}
