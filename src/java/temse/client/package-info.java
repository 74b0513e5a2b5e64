/**
 * The MTA side: plays mail to a milter, over a socket or straight to its engine.
 *
 * <ul>
 *   <li>To play mail: {@link temse.client.MtaClient}, {@link temse.client.MtaSession}, {@link
 *       temse.client.Mail}; the verdict on it: {@link temse.client.MessageReport}.
 *   <li>Which MTA it is, and what it does wrong: {@link temse.client.MtaOptions}, {@link
 *       temse.client.MtaStyle}, {@link temse.client.Timeouts}, {@link temse.client.Fault}.
 *   <li>For replays, generated conversations and proxies, which read answers as a session does:
 *       {@link temse.client.Script} plays events that are no mail, {@link
 *       temse.client.AnswerRemarks} judges answers that were read elsewhere.
 * </ul>
 *
 * <p>A session belongs to one thread at a time.
 */
@NullMarked
package temse.client;

import org.jspecify.annotations.NullMarked;
