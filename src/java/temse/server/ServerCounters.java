package temse.server;

/**
 * What has happened in a server so far.
 *
 * @param limitsExceeded how often a message, a packet or a connection went beyond a limit
 * @param timeouts connections that were closed because the MTA did not negotiate in time, did not
 *     finish a packet in time, or was silent for too long
 * @param listenerFailures how often a listener has thrown
 * @param accepted connections accepted, including those refused
 * @param refused connections closed at once because there were too many
 * @param refusedPerPeer those of them whose peer had too many
 * @param handOvers how often a loop left its thread to a blocking handler
 * @param lent how often a connection was given to another thread beforehand, because its handler
 *     was suspected to block
 * @param waits how often that had to wait because too many threads were held
 * @param starved connections that were given up because they waited too long for that
 * @param stalls how often a loop was held up by a handler because no thread could be had
 * @param droppedReports reports of refusals and the like that were dropped because the listener
 *     blocked and too many waited for it
 */
public record ServerCounters(
    long limitsExceeded,
    long timeouts,
    long listenerFailures,
    long accepted,
    long refused,
    long refusedPerPeer,
    long handOvers,
    long lent,
    long waits,
    long starved,
    long stalls,
    long droppedReports) {}
