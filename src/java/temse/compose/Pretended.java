package temse.compose;

import temse.protocol.Action;
import temse.protocol.EventType;

/**
 * What a filter that only pretends would have done.
 *
 * @param filter its name
 * @param at the event that it would have answered
 * @param verdict the name of what would have happened: {@code reject}, {@code temporary-failure},
 *     {@code add-header} …
 * @param action the action itself, with its reason
 * @param mail what logs call the mail by, see {@link temse.server.ConnectionInfo#mail}
 */
public record Pretended(String filter, EventType at, String verdict, Action action, String mail) {}
