/**
 * The milter protocol, versions 2 to 6: bytes to immutable maps and back, negotiation, macros, the
 * state of a conversation and what is legal in it. Pure: no sockets, no threads, no clock.
 */
package temse.protocol;
