/**
 * Filters made of filters.
 *
 * <ul>
 *   <li>{@link temse.compose.Filter}: several filters behind one connection to the MTA, and filters
 *       that are there for some clients or messages only.
 *   <li>{@link temse.compose.Origin}: what is asked whether a filter is there.
 *   <li>{@link temse.compose.Pretence} and {@link temse.compose.Pretended}: filters that do nothing
 *       yet.
 * </ul>
 *
 * <p>All of them are immutable and may be shared by threads.
 */
@NullMarked
package temse.compose;

import org.jspecify.annotations.NullMarked;
