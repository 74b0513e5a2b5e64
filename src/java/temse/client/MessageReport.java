package temse.client;

import clojure.lang.IPersistentMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;
import temse.protocol.Action;
import temse.protocol.ActionType;
import temse.protocol.EventType;
import temse.protocol.Keys;

/**
 * The verdict on a message, and how it came about.
 *
 * @param verdict ACCEPT, REJECT, TEMPORARY_FAILURE or DISCARD; null if the connection died of a
 *     fault that was asked for
 * @param at the event that settled it
 * @param reply the action that settled it; null without a verdict
 * @param modifications what the milter changed, in order; a replaced body is one of them
 * @param recipients the reply to each recipient that the MTA has named, by address
 */
public record MessageReport(
    @Nullable ActionType verdict,
    @Nullable EventType at,
    @Nullable Action reply,
    List<Action> modifications,
    Map<String, Action> recipients) {

  /**
   * {@return the typed view of what {@link MtaSession#deliver} has returned}
   *
   * @param report a map as {@link MtaSession#deliver} returns it
   */
  public static MessageReport of(IPersistentMap report) {
    Map<String, Action> recipients = new LinkedHashMap<>();
    ((Map<?, ?>) report.valAt(Keys.RECIPIENTS))
        .forEach((address, reply) -> recipients.put((String) address, action(reply)));
    return new MessageReport(
        ActionType.ofKeyword(report.valAt(Keys.VERDICT)),
        EventType.ofKeyword(report.valAt(Keys.AT)),
        action(report.valAt(Keys.REPLY)),
        ((List<?>) report.valAt(Keys.MODIFICATIONS)).stream().map(MessageReport::action).toList(),
        recipients);
  }

  private static @Nullable Action action(@Nullable Object map) {
    return map == null ? null : Action.view((IPersistentMap) map);
  }
}
