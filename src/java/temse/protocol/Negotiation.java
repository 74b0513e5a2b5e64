package temse.protocol;

import clojure.lang.PersistentHashSet;
import java.util.EnumSet;
import java.util.Set;

/** Offer and request in, agreement or refusal out: libmilter's {@code xxfi_negotiate}, inferred. */
public final class Negotiation {
  /** The newest protocol version. */
  public static final int NEWEST_VERSION = 6;

  private static final int OLDEST_VERSION = 2;

  private Negotiation() {}

  /**
   * Returns what holds between the two. Bits that were not offered are never requested; what they
   * would have saved is emulated.
   *
   * @throws MilterException VERSION_UNSUPPORTED below version 2; EVENTS_REFUSED if the MTA's
   *     version lacks a needed event; ACTIONS_REFUSED if a needed action is not offered
   */
  public static Agreement agree(Offer offer, Request request) {
    return agree(offer, request, Integer.MAX_VALUE);
  }

  /**
   * Returns what holds between the two, like {@link #agree(Offer, Request)}, where packets from the
   * MTA may have payloads of at most {@code maximumPayload} bytes: a payload size that is offered
   * is agreed only if packets of that size are accepted.
   *
   * @throws MilterException as there
   */
  public static Agreement agree(Offer offer, Request request, int maximumPayload) {
    if (Integer.compareUnsigned(offer.version(), OLDEST_VERSION) < 0) {
      throw new MilterException(
          MilterException.Category.VERSION_UNSUPPORTED,
          "the MTA speaks milter protocol version "
              + offer.version()
              + ", the oldest supported is "
              + OLDEST_VERSION,
          "offered",
          (long) offer.version());
    }
    int version = (int) Math.min(Integer.toUnsignedLong(offer.version()), NEWEST_VERSION);
    return new Agreement(
        offer,
        request,
        version,
        actions(offer, request),
        protocol(offer, request, maximumPayload),
        handled(version, request));
  }

  private static int actions(Offer offer, Request request) {
    int offered = offer.effectiveActions();
    int missing = ActionFlag.mask(request.actions()) & ~offered;
    if (missing != 0) {
      throw new MilterException(
          MilterException.Category.ACTIONS_REFUSED,
          "the MTA does not offer these needed actions: " + constants(ActionFlag.ofMask(missing)),
          "offered",
          keywords(ActionFlag.ofMask(offered)),
          "requested",
          keywords(request.actions()),
          "missing",
          keywords(ActionFlag.ofMask(missing)));
    }
    int wanted =
        ActionFlag.mask(request.actions())
            | ActionFlag.mask(request.optionalActions())
            | (request.macros().isEmpty() ? 0 : ActionFlag.REQUEST_MACROS.mask);
    return wanted & offered;
  }

  private static EnumSet<EventType> handled(int version, Request request) {
    EnumSet<EventType> handled = EnumSet.noneOf(EventType.class);
    for (EventType type : request.events()) {
      if (type == EventType.DISCONNECT || type.sinceVersion <= version) {
        handled.add(type);
      } else if (!request.optionalEvents().contains(type)) {
        throw new MilterException(
            MilterException.Category.EVENTS_REFUSED,
            "the needed event "
                + type.keyword
                + " exists since milter protocol version "
                + type.sinceVersion
                + ", the MTA speaks "
                + version
                + "; name it in :optional-events if the milter can do without",
            "missing",
            PersistentHashSet.create(type.keyword),
            "offered",
            (long) version);
      }
    }
    return handled;
  }

  private static int protocol(Offer offer, Request request, int maximumPayload) {
    int offered = offer.effectiveProtocol();
    int wanted = ProtocolFlag.SKIP.mask;
    for (EventType type : EventType.values()) {
      if (type.suppressedBy == null) {
        continue;
      }
      if (!needed(type, request)) {
        boolean suppressible = (offered & type.suppressedBy.mask) != 0;
        wanted |= suppressible ? type.suppressedBy.mask : type.noReplyBy.mask;
      } else if (!request.events().contains(type) || request.noReplyEvents().contains(type)) {
        wanted |= type.noReplyBy.mask;
      }
    }
    if (request.rejectedRecipients()) {
      wanted |= ProtocolFlag.REJECTED_RECIPIENTS.mask;
    }
    if (request.leadingSpace()) {
      wanted |= ProtocolFlag.LEADING_SPACE.mask;
    }
    return wanted & offered | largestPayload(offered, maximumPayload);
  }

  /** A handler of message ends needs to know where each message begins. */
  private static boolean needed(EventType type, Request request) {
    return request.events().contains(type)
        || type == EventType.MAIL && request.events().contains(EventType.MESSAGE_END);
  }

  private static int largestPayload(int offered, int maximumPayload) {
    if ((offered & ProtocolFlag.PAYLOAD_1M.mask) != 0
        && maximumPayload >= Agreement.MAXIMUM_PAYLOAD_1M) {
      return ProtocolFlag.PAYLOAD_1M.mask;
    }
    return maximumPayload >= Agreement.MAXIMUM_PAYLOAD_256K
        ? offered & ProtocolFlag.PAYLOAD_256K.mask
        : 0;
  }

  private static String constants(Set<ActionFlag> flags) {
    StringBuilder names = new StringBuilder();
    for (ActionFlag flag : flags) {
      names.append(names.length() == 0 ? "" : ", ");
      names.append(flag.keyword).append(" (").append(flag.constant).append(')');
    }
    return names.toString();
  }

  private static PersistentHashSet keywords(Set<ActionFlag> flags) {
    return PersistentHashSet.create(flags.stream().map(flag -> flag.keyword).toArray());
  }
}
