package temse.protocol;

import java.util.EnumSet;
import java.util.List;
import java.util.Map;
import java.util.Set;

/**
 * What holds between a milter and an MTA after the negotiation.
 *
 * <p>It also knows what the library does in the MTA's place: events that the MTA sends although
 * nobody handles them, replies that it waits for although the milter wanted to give none.
 */
public final class Agreement {
  static final int MAXIMUM_PAYLOAD_256K = 262143;
  static final int MAXIMUM_PAYLOAD_1M = 1048575;

  private final Offer offer;
  private final Request request;
  private final int version;
  private final int actions;
  private final int protocol;
  private final EnumSet<EventType> handled;

  Agreement(
      Offer offer,
      Request request,
      int version,
      int actions,
      int protocol,
      EnumSet<EventType> handled) {
    this.offer = offer;
    this.request = request;
    this.version = version;
    this.actions = actions;
    this.protocol = protocol;
    this.handled = handled;
  }

  /** {@return what the MTA offered} */
  public Offer offer() {
    return offer;
  }

  /** {@return what the milter wanted} */
  public Request request() {
    return request;
  }

  /** {@return the protocol version: the lower of the MTA's and 6} */
  public int version() {
    return version;
  }

  /** {@return the agreed {@code SMFIF_*} bits} */
  public int actionMask() {
    return actions;
  }

  /** {@return the agreed {@code SMFIP_*} bits} */
  public int protocolMask() {
    return protocol;
  }

  /** {@return the agreed actions} */
  public Set<ActionFlag> actions() {
    return ActionFlag.ofMask(actions);
  }

  /** {@return the agreed protocol flags} */
  public Set<ProtocolFlag> protocol() {
    return ProtocolFlag.ofMask(protocol);
  }

  /** {@return the events that reach a handler or may reach one: those always sent included} */
  public Set<EventType> events() {
    EnumSet<EventType> events = EnumSet.copyOf(handled);
    events.add(EventType.END_OF_MESSAGE);
    events.add(EventType.ABORT);
    events.add(EventType.QUIT);
    events.add(EventType.DISCONNECT);
    return events;
  }

  /**
   * {@return true if the event has a handler}
   *
   * @param type of the event
   */
  public boolean handles(EventType type) {
    return handled.contains(type);
  }

  /**
   * {@return true if the action may be sent}
   *
   * @param flag such as {@code ADD_HEADER}
   */
  public boolean allows(ActionFlag flag) {
    return (actions & flag.mask) != 0;
  }

  /**
   * {@return true if the flag was agreed}
   *
   * @param flag such as {@code HEADER_LEADING_SPACE}
   */
  public boolean has(ProtocolFlag flag) {
    return (protocol & flag.mask) != 0;
  }

  /**
   * {@return true if the MTA was asked not to send the event}
   *
   * @param type of the event
   */
  public boolean suppresses(EventType type) {
    return type.suppressedBy != null && has(type.suppressedBy);
  }

  /**
   * {@return true if the MTA waits for a reply to the event}
   *
   * @param type of the event
   */
  public boolean owesReply(EventType type) {
    return type.owesReply() && (type.noReplyBy == null || !has(type.noReplyBy));
  }

  /**
   * {@return true if a handler may answer the event}
   *
   * @param type of the event
   */
  public boolean mayAnswer(EventType type) {
    return type.owesReply() && !request.noReplyEvents().contains(type);
  }

  /**
   * {@return true if the milter wanted leading spaces and the MTA cannot keep them, so that one
   * space is added to each incoming value and taken off each outgoing one}
   */
  public boolean emulatesLeadingSpace() {
    return request.leadingSpace() && !has(ProtocolFlag.LEADING_SPACE);
  }

  /**
   * {@return the bytes that a payload to the MTA may have: 65535, or 262143 or 1048575 if {@code
   * SMFIP_MDS_256K} or {@code SMFIP_MDS_1M} was agreed}
   */
  public int maximumPayload() {
    return has(ProtocolFlag.PAYLOAD_1M)
        ? MAXIMUM_PAYLOAD_1M
        : has(ProtocolFlag.PAYLOAD_256K) ? MAXIMUM_PAYLOAD_256K : ActionCodec.MAXIMUM_PAYLOAD;
  }

  /** {@return the packet that answers the offer} */
  public Packet packet() {
    Output output = new Output().putInt(version).putInt(actions).putInt(protocol);
    if (allows(ActionFlag.REQUEST_MACROS)) {
      for (Map.Entry<MacroStage, List<String>> list : request.macros().entrySet()) {
        output.putInt(list.getKey().id).putString(EventCodec.wireNames(list.getValue()));
      }
    }
    return new Packet(EventType.OPTIONS.code, output.toByteArray());
  }
}
