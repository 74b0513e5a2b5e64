/**
 * Several filters behind one connection to the MTA, for {@link temse.compose.Filter} and for the
 * Clojure namespace of that name. Not for users.
 *
 * <p>A {@link temse.compose.internal.Sequence} is what holds for one SMTP client. It has an agenda
 * for each event; what it sends to a filter goes through a {@link temse.compose.internal.Member},
 * to which it is the MTA.
 */
package temse.compose.internal;
