package temse.bench;

import clojure.lang.IPersistentMap;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.concurrent.TimeUnit;
import org.openjdk.jmh.annotations.Benchmark;
import org.openjdk.jmh.annotations.Param;
import org.openjdk.jmh.annotations.Scope;
import org.openjdk.jmh.annotations.Setup;
import org.openjdk.jmh.annotations.State;
import org.openjdk.jmh.annotations.Warmup;
import temse.protocol.EventCodec;
import temse.protocol.Packet;
import temse.protocol.PacketDecoder;

/** From the bytes in a read buffer to the event map. */
@State(Scope.Thread)
@Warmup(iterations = 2, time = 300, timeUnit = TimeUnit.MILLISECONDS)
public class DecodeBenchmark {
  /** Packets as Postfix sends them. */
  public enum Event {
    /** A client with an IPv4 address. */
    CONNECT("Cmail.example.org\0004\377\376192.0.2.25\0"),
    /** A sender with two parameters. */
    MAIL("M<a@example.org>\0SIZE=8800\0BODY=8BITMIME\0"),
    /** A recipient without parameters. */
    RECIPIENT("R<b@example.com>\0"),
    /** The macros of a recipient. */
    MACROS(
        "DRi\0004TEMSE1A2B\0{rcpt_addr}\0b@example.com\0{rcpt_host}\0example.com\0"
            + "{rcpt_mailer}\0smtp\0"),
    /** A header field of 64 bytes. */
    HEADER("LSubject\0The minutes of yesterday's meeting, and what comes next\0"),
    /** 64 KiB of body. */
    BODY("B" + "x".repeat(65535));

    private final byte[] frame;

    Event(String codeAndPayload) {
      byte[] bytes = codeAndPayload.substring(1).getBytes(StandardCharsets.ISO_8859_1);
      frame = new Packet((byte) codeAndPayload.charAt(0), bytes).toBytes();
    }
  }

  /** What is decoded. */
  @Param public Event event;

  private final PacketDecoder decoder = new PacketDecoder(1 << 20);
  private ByteBuffer bytes;

  /** Puts the packet where a server reads. */
  @Setup
  public void read() {
    bytes = ByteBuffer.allocateDirect(event.frame.length).put(event.frame);
  }

  /** Decodes a packet. */
  @Benchmark
  public IPersistentMap decode() {
    return EventCodec.decode(decoder.next(bytes.rewind()));
  }
}
