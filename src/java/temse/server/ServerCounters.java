package temse.server;

import java.util.Map;

/**
 * What has happened in a server so far. The maps have an entry for each name that there is, in a
 * fixed order, and cannot be changed.
 *
 * @param accepted connections accepted, including those refused
 * @param refused connections closed at once: there were too many, or the peer may not connect
 * @param refusedPerPeer those of them whose peer had too many
 * @param refusedByAddress those of them whose peer is not among those that {@linkplain
 *     temse.transport.TransportOptions#allow may connect}
 * @param probes connections of somebody who is no MTA: see {@link ServerListener#probed}
 * @param events events that MTAs have sent, and ends of messages and clients, by name such as
 *     {@code end-of-message}
 * @param messages messages that have ended, by verdict: {@code accepted}, {@code rejected}, {@code
 *     deferred}, {@code discarded}, {@code quarantined} (accepted, for the MTA to hold), {@code
 *     aborted} by the MTA, {@code lost} with its connection
 * @param errors failures of handlers, breaches of the protocol and lost connections, by kind: the
 *     category of a {@link temse.protocol.MilterException} such as {@code handler-timeout}, or
 *     {@code exception} for any other
 * @param bytesRead bytes from MTAs
 * @param bytesWritten bytes to MTAs
 * @param limitsExceeded how often a message, a packet or a connection went beyond a limit
 * @param timeouts connections that were closed because the MTA did not negotiate in time, did not
 *     finish a packet in time, or was silent for too long
 * @param listenerFailures how often a listener or a timer has thrown
 * @param reloads how often {@link MilterServer#replace} was called
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
    long accepted,
    long refused,
    long refusedPerPeer,
    long refusedByAddress,
    long probes,
    Map<String, Long> events,
    Map<String, Long> messages,
    Map<String, Long> errors,
    long bytesRead,
    long bytesWritten,
    long limitsExceeded,
    long timeouts,
    long listenerFailures,
    long reloads,
    long handOvers,
    long lent,
    long waits,
    long starved,
    long stalls,
    long droppedReports) {}
