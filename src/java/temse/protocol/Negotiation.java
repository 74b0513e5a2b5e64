package temse.protocol;

import clojure.lang.PersistentHashSet;
import java.util.ArrayList;
import java.util.EnumMap;
import java.util.EnumSet;
import java.util.List;
import java.util.Map;
import java.util.Set;

/** Offer and request in, agreement or refusal out: libmilter's {@code xxfi_negotiate}, inferred. */
public final class Negotiation {
  /** The newest protocol version. */
  public static final int NEWEST_VERSION = 6;

  private static final int OLDEST_VERSION = 2;

  private Negotiation() {}

  /**
   * {@return what holds between the two} Bits that were not offered are never requested; what they
   * would have saved is emulated.
   *
   * @param offer of the MTA
   * @param request of the milter
   * @throws MilterException VERSION_UNSUPPORTED below version 2; EVENTS_REFUSED if the MTA's
   *     version lacks a needed event; ACTIONS_REFUSED if a needed action is not offered
   */
  public static Agreement agree(Offer offer, Request request) {
    return agree(offer, request, Integer.MAX_VALUE);
  }

  /**
   * {@return what holds between the two, like {@link #agree(Offer, Request)}, where packets from
   * the MTA may have payloads of at most {@code maximumPayload} bytes: a payload size that is
   * offered is agreed only if packets of that size are accepted}
   *
   * @param offer of the MTA
   * @param request of the milter
   * @param maximumPayload in bytes
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

  // ---- another milter for an open connection

  /**
   * {@return what an open connection lacks that a new one would have, if it had been negotiated for
   * this request} What was agreed with the MTA cannot change.
   *
   * @param agreement of the connection, as it was negotiated
   * @param request of another milter
   */
  public static Missing missing(Agreement agreement, Request request) {
    Offer offer = agreement.offer();
    int protocol = protocol(offer, request, 0);
    EnumSet<EventType> events = EnumSet.noneOf(EventType.class);
    EnumSet<EventType> replies = EnumSet.noneOf(EventType.class);
    for (EventType type : EventType.values()) {
      boolean asked = request.events().contains(type);
      if (asked && isTooNew(type, agreement.version())) {
        if (!request.optionalEvents().contains(type)) {
          events.add(type);
        }
      } else if (agreement.suppresses(type) && (protocol & type.suppressedBy.mask) == 0) {
        events.add(type);
      } else if (asked
          && type.owesReply()
          && !request.noReplyEvents().contains(type)
          && !agreement.owesReply(type)) {
        replies.add(type);
      }
    }
    EnumSet<ActionFlag> actions = EnumSet.noneOf(ActionFlag.class);
    actions.addAll(request.optionalActions());
    actions.retainAll(ActionFlag.ofMask(offer.effectiveActions()));
    actions.addAll(request.actions());
    actions.removeAll(agreement.actions());
    int differing = protocol ^ agreement.protocolMask();
    return new Missing(
        events,
        replies,
        actions,
        missingMacros(agreement, request),
        (differing & ProtocolFlag.REJECTED_RECIPIENTS.mask) != 0,
        (differing & ProtocolFlag.LEADING_SPACE.mask) != 0);
  }

  /** What the MTA sends of its own at a stage is not known: a list stands for itself only. */
  private static Map<MacroStage, List<String>> missingMacros(Agreement agreement, Request request) {
    Map<MacroStage, List<String>> missing = new EnumMap<>(MacroStage.class);
    if ((agreement.offer().effectiveActions() & ActionFlag.REQUEST_MACROS.mask) == 0) {
      return missing;
    }
    for (MacroStage stage : MacroStage.values()) {
      List<String> wanted = request.macros().get(stage);
      List<String> sent = agreement.request().macros().get(stage);
      List<String> lacking = new ArrayList<>();
      if (wanted == null) {
        lacking.addAll(sent == null ? List.of() : stage.usual);
      } else {
        List<String> known =
            sent == null ? List.of() : sent.stream().map(EventCodec::bareName).toList();
        wanted.stream()
            .filter(name -> !known.contains(EventCodec.bareName(name)))
            .forEach(lacking::add);
      }
      if (!lacking.isEmpty()) {
        missing.put(stage, List.copyOf(lacking));
      }
    }
    return missing;
  }

  /**
   * {@return what holds for another milter on an open connection which lacks nothing of what its
   * request needs: see {@link #missing}} It may do what it has asked for and no more.
   *
   * @param agreement of the connection, as it was negotiated
   * @param request of the other milter
   */
  public static Agreement takeOver(Agreement agreement, Request request) {
    return new Agreement(
        agreement.offer(),
        request,
        agreement.version(),
        actions(agreement.offer(), request),
        agreement.protocolMask(),
        handled(agreement.version(), request));
  }

  private static boolean isTooNew(EventType type, int version) {
    return type != EventType.DISCONNECT && type.sinceVersion > version;
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
      if (!isTooNew(type, version)) {
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
