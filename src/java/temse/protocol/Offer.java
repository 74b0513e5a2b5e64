package temse.protocol;

import clojure.lang.IPersistentMap;

/**
 * What an MTA can do: the first packet of a connection.
 *
 * @param version the MTA's protocol version
 * @param actions the {@code SMFIF_*} bits it offers, as they came
 * @param protocol the {@code SMFIP_*} bits it understands, as they came
 */
public record Offer(int version, int actions, int protocol) {
  /** What Sendmail 8.14 and later and Postfix 2.6 and later offer. */
  public static final Offer CURRENT = new Offer(6, ActionFlag.ALL, ProtocolFlag.ALL);

  /**
   * {@return the offer that an {@code :options} event describes}
   *
   * @param event a map with {@code :version :actions :protocol}
   */
  public static Offer of(IPersistentMap event) {
    return new Offer(
        ((Number) event.valAt(Keys.VERSION)).intValue(),
        ((Number) event.valAt(Keys.ACTION_MASK)).intValue(),
        ((Number) event.valAt(Keys.PROTOCOL_MASK)).intValue());
  }

  /** {@return the {@code :options} event that carries the offer} */
  public IPersistentMap event() {
    return EventCodec.decode(packet());
  }

  /** {@return the packet that carries the offer} */
  public Packet packet() {
    return new Packet(
        EventType.OPTIONS.code,
        new Output().putInt(version).putInt(actions).putInt(protocol).toByteArray());
  }

  /** {@return the action bits that count: none at all stands for those of version 1} */
  public int effectiveActions() {
    return actions == 0 ? ActionFlag.VERSION_1 : actions;
  }

  /** {@return the protocol bits that count: none at all stands for those of version 1} */
  public int effectiveProtocol() {
    return protocol == 0 ? ProtocolFlag.VERSION_1 : protocol;
  }
}
