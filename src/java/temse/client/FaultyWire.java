package temse.client;

import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.InterruptedIOException;
import java.nio.ByteBuffer;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import temse.protocol.Packet;
import temse.protocol.PacketDecoder;

/** A wire on which things go wrong on purpose. */
final class FaultyWire implements Wire {
  /** Thrown where the connection was dropped on purpose. */
  static final class DroppedException extends IOException {
    private static final long serialVersionUID = 1L;

    DroppedException(Fault.Drop fault) {
      super("the connection was dropped on purpose after " + fault.event().keyword.getName());
    }
  }

  private final Wire wire;
  private final List<Fault> faults;
  private final ByteArrayOutputStream held = new ByteArrayOutputStream();
  private DroppedException dropped;

  private FaultyWire(Wire wire, List<Fault> faults) {
    this.wire = wire;
    this.faults = new ArrayList<>(faults);
  }

  /** Returns the wire with the faults; without any, the wire itself. */
  static Wire of(Wire wire, List<Fault> faults) {
    return faults.isEmpty() ? wire : new FaultyWire(wire, faults);
  }

  @Override
  public void write(byte[] packets) throws IOException {
    checkDropped();
    PacketDecoder decoder = new PacketDecoder(Integer.MAX_VALUE - 1);
    ByteBuffer input = ByteBuffer.wrap(packets);
    for (Packet packet = decoder.next(input); packet != null; packet = decoder.next(input)) {
      held.writeBytes(packet.toBytes());
      after(packet);
    }
    if (!faults.contains(Fault.merge())) {
      release();
    }
  }

  /** Lets happen, once, what happens after the packet. */
  private void after(Packet packet) throws IOException {
    for (Fault fault : List.copyOf(faults)) {
      if (fault instanceof Fault.Garbage garbage && garbage.event().code == packet.code()) {
        faults.remove(fault);
        held.writeBytes(garbage.bytes());
      } else if (fault instanceof Fault.Drop drop && drop.event().code == packet.code()) {
        release();
        dropped = new DroppedException(drop);
        wire.close();
        checkDropped();
      }
    }
  }

  private void checkDropped() throws IOException {
    if (dropped != null) {
      throw dropped;
    }
  }

  /** Sends what was held back, in pieces if that is one of the faults. */
  private void release() throws IOException {
    byte[] bytes = held.toByteArray();
    held.reset();
    Fault.Split split = split();
    if (split == null) {
      if (bytes.length > 0) {
        wire.write(bytes);
      }
      return;
    }
    for (int from = 0; from < bytes.length; from += split.size()) {
      if (from > 0) {
        pause(split.pause());
      }
      wire.write(Arrays.copyOfRange(bytes, from, Math.min(bytes.length, from + split.size())));
    }
  }

  private Fault.Split split() {
    for (Fault fault : faults) {
      if (fault instanceof Fault.Split split) {
        return split;
      }
    }
    return null;
  }

  private static void pause(Duration pause) throws IOException {
    try {
      if (!pause.isZero()) {
        Thread.sleep(pause.toMillis(), pause.toNanosPart() % 1_000_000);
      }
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      throw new InterruptedIOException("interrupted, sending slowly");
    }
  }

  @Override
  public Packet read(Duration timeout) throws IOException {
    checkDropped();
    release();
    return wire.read(timeout);
  }

  @Override
  public boolean hasPacket() throws IOException {
    return dropped == null && wire.hasPacket();
  }

  @Override
  public void close() throws IOException {
    try (wire) {
      if (dropped == null) {
        release();
      }
    }
  }
}
