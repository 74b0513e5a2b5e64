/**
 * IP networks: {@link temse.network.Networks} asks whether the address of a client is in one of a
 * set. Immutable and thread-safe; nothing here asks DNS.
 */
@NullMarked
package temse.network;

import org.jspecify.annotations.NullMarked;
