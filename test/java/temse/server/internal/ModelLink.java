package temse.server.internal;

import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.List;
import java.util.Queue;
import java.util.concurrent.ConcurrentLinkedQueue;
import temse.protocol.Output;
import temse.protocol.Packet;
import temse.protocol.PacketDecoder;
import temse.transport.internal.Link;

/**
 * A link without a socket that refuses handlers, is congested and runs out of memory at random, and
 * reads what is written packet by packet.
 */
final class ModelLink implements Link {
  private static final String CHANGES = "himbe+2-qp";

  final Queue<Runnable> tasks = new ConcurrentLinkedQueue<>();

  private final Chaos chaos;
  private final ArrayDeque<String> packets = new ArrayDeque<>();
  private final Output output = new Output();
  private int finals;
  private boolean inside;

  boolean onSpareThread;
  boolean congested;

  /** Whether memory runs out at random, and whether it has. */
  boolean scarce;

  boolean hasFailed;

  ModelLink(Chaos chaos) {
    this.chaos = chaos;
  }

  /** Returns how many final replies were written; also while the conversation runs. */
  int finals() {
    int inOutput = (int) parse(output.toByteArray()).stream().filter(ModelLink::isFinal).count();
    return finals + inOutput;
  }

  static boolean isFinal(String packet) {
    return CHANGES.indexOf(packet.charAt(0)) < 0;
  }

  /** Takes what was written since the last call, a packet each. */
  List<String> take() {
    write(output.toByteArray());
    output.clear();
    List<String> taken = new ArrayList<>(packets);
    packets.clear();
    return taken;
  }

  private void write(byte[] bytes) {
    List<String> more = parse(bytes);
    packets.addAll(more);
    finals += (int) more.stream().filter(ModelLink::isFinal).count();
  }

  private List<String> parse(byte[] bytes) {
    PacketDecoder decoder = new PacketDecoder(1 << 24);
    ByteBuffer rest = ByteBuffer.wrap(bytes);
    List<String> parsed = new ArrayList<>();
    for (Packet packet = decoder.next(rest); packet != null; packet = decoder.next(rest)) {
      String payload = new String(packet.payload(), StandardCharsets.ISO_8859_1);
      parsed.add((char) packet.code() + payload.replace('\0', '|'));
    }
    chaos.check(!decoder.midPacket(), "only whole packets are written");
    return parsed;
  }

  boolean isInside() {
    return inside;
  }

  @Override
  public Output output() {
    if (scarce && chaos.oneIn(40)) {
      hasFailed = true;
      throw new OutOfMemoryError("no memory for output, at random");
    }
    return output;
  }

  @Override
  public void flush() {
    write(output.toByteArray());
    output.clear();
    congested = congested || chaos.oneIn(5);
  }

  @Override
  public boolean isCongested() {
    congested = congested || chaos.oneIn(50);
    return congested;
  }

  @Override
  public synchronized void writeNow(byte[] bytes) {
    write(bytes);
  }

  @Override
  public boolean enter(int kind) {
    chaos.check(kind >= 0 && kind < 64, "kinds are from 0 to 63");
    chaos.check(!inside, "foreign code of one connection runs one at a time");
    if (!onSpareThread && chaos.oneIn(10)) {
      return false;
    }
    inside = true;
    return true;
  }

  @Override
  public void leave() {
    chaos.check(inside, "leave comes after enter");
    inside = false;
  }

  @Override
  public void later(Runnable task) {
    tasks.add(task);
  }

  @Override
  public String peer() {
    return "model";
  }
}
