/**
 * Where a server listens, and with which threads and limits: {@link temse.transport.Endpoint} and
 * {@link temse.transport.TransportOptions}. The sockets and threads themselves are temse's own.
 */
@NullMarked
package temse.transport;

import org.jspecify.annotations.NullMarked;
