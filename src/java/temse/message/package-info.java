/**
 * Whole messages: collected from events, with a body that moves to a file where it is large, and
 * changed by the smallest list of actions.
 *
 * <ul>
 *   <li>To write a filter: {@link temse.message.MessageFilter}; what it receives: {@link
 *       temse.message.Message}, {@link temse.message.HeaderField}, {@link temse.message.Client},
 *       {@link temse.message.Body}.
 *   <li>To have another message delivered: {@link temse.message.Changes}, {@link
 *       temse.message.Mta}.
 *   <li>What messages may take: {@link temse.message.MessageStore}, {@link temse.message.Exceeded}.
 *   <li>To collect messages in another way, as temse's Clojure side does: {@link
 *       temse.message.Collector}.
 * </ul>
 *
 * <p>Messages are immutable, and bodies may be read by any thread while the message lasts.
 * Collectors and builders belong to one thread.
 */
@NullMarked
package temse.message;

import org.jspecify.annotations.NullMarked;
