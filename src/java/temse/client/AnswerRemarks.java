package temse.client;

import clojure.lang.IPersistentMap;
import java.io.IOException;
import java.time.Duration;
import java.util.ArrayDeque;
import java.util.Collection;
import java.util.Deque;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Set;
import org.jspecify.annotations.Nullable;
import temse.protocol.EventType;
import temse.protocol.Packet;

/** What both MTAs remark on an answer that was read elsewhere. */
public final class AnswerRemarks {
  private AnswerRemarks() {}

  /**
   * {@return the remarks of both MTAs on an answer, as {@link MtaSession} has them; the same ones
   * once}
   *
   * @param event what was answered, or null for what was not asked for
   * @param answer the packets that came, without a reply where none has come
   * @param agreed the mask of the actions that the milter has asked for
   */
  public static List<IPersistentMap> of(
      @Nullable EventType event, List<Packet> answer, int agreed) {
    Set<IPersistentMap> remarks = new LinkedHashSet<>();
    for (MtaOptions options : List.of(MtaOptions.POSTFIX, MtaOptions.SENDMAIL)) {
      remarks.addAll(remarks(event, answer, agreed, options));
    }
    return List.copyOf(remarks);
  }

  private static List<IPersistentMap> remarks(
      EventType event, List<Packet> answer, int agreed, MtaOptions options) {
    AnswerReader reader =
        new AnswerReader(
            new Packets(answer), options, agreed, new AnswerLimits(options.timeouts()));
    try {
      if (event == null) {
        reader.checkSurplus(EventType.ABORT);
      } else {
        reader.read(event);
      }
    } catch (IOException e) {
      return reader.takeRemarks();
    }
    return reader.takeRemarks();
  }

  /** The packets of an answer, all of which have come. */
  private static final class Packets implements Wire {
    private final Deque<Packet> packets;

    Packets(Collection<Packet> packets) {
      this.packets = new ArrayDeque<>(packets);
    }

    @Override
    public void write(byte[] bytes) {}

    @Override
    public Packet read(Duration timeout) throws IOException {
      Packet packet = packets.poll();
      if (packet == null) {
        throw new IOException("the milter sent no reply");
      }
      return packet;
    }

    @Override
    public boolean hasPacket() {
      return !packets.isEmpty();
    }

    @Override
    public void close() {}
  }
}
