package temse.client;

import clojure.lang.IPersistentMap;
import clojure.lang.Keyword;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import temse.protocol.ActionType;
import temse.protocol.EventType;
import temse.protocol.Keys;

/**
 * What became of a message.
 *
 * @param verdict ACCEPT, REJECT, TEMPORARY_FAILURE or DISCARD; null if the connection died of a
 *     fault that was asked for
 * @param at the event that settled it
 * @param reply the action that settled it; null without a verdict
 * @param modifications what the milter changed, in order; a replaced body is one of them
 * @param recipients the reply to each recipient that the MTA told of, by address
 */
public record MessageReport(
    ActionType verdict,
    EventType at,
    IPersistentMap reply,
    List<IPersistentMap> modifications,
    Map<String, IPersistentMap> recipients) {

  /** Returns the typed view of what {@link MtaSession#deliver} has returned. */
  public static MessageReport of(IPersistentMap report) {
    Map<String, IPersistentMap> recipients = new LinkedHashMap<>();
    ((Map<?, ?>) report.valAt(Keys.RECIPIENTS))
        .forEach((address, reply) -> recipients.put((String) address, (IPersistentMap) reply));
    return new MessageReport(
        report.valAt(Delivery.VERDICT) instanceof Keyword verdict
            ? ActionType.ofKeyword(verdict)
            : null,
        EventType.ofKeyword(report.valAt(Delivery.AT)),
        (IPersistentMap) report.valAt(Keys.REPLY),
        ((List<?>) report.valAt(Delivery.MODIFICATIONS))
            .stream().map(IPersistentMap.class::cast).toList(),
        recipients);
  }
}
