package temse.server;

import java.time.Duration;
import java.time.Instant;
import java.util.List;
import org.jspecify.annotations.Nullable;
import temse.protocol.Action;
import temse.protocol.Event;

/**
 * An event that is settled, and what answered it: what {@link MilterServer#watch} reports.
 *
 * @param connection the connection that it came on
 * @param mail the number of the message on its connection, from 1; 0 for an event outside of one
 * @param event the event. A header field has no index if the message had begun before anybody
 *     watched and no handler sees its header
 * @param response what was sent for it, the reply last; nothing for the offer of an MTA, which
 *     {@link ConnectionInfo#agreement} answers
 * @param at when it was settled
 * @param duration from the handler's start to the settling
 * @param before the state that the handler got, as {@link MilterHandler#stateBefore} returns it;
 *     null where no handler ran
 * @param after the state that the handler left, as {@link MilterHandler#state} returns it; null
 *     where no handler ran
 * @param failure why the error policy has answered in the handler's place, or null
 */
public record Exchange(
    ConnectionInfo connection,
    int mail,
    Event event,
    List<Action> response,
    Instant at,
    Duration duration,
    @Nullable Object before,
    @Nullable Object after,
    @Nullable Throwable failure) {}
