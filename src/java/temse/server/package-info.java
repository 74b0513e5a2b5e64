/**
 * The milter side: filters, and the server that calls them.
 *
 * <ul>
 *   <li>To write a filter: {@link temse.server.Milter}, {@link temse.server.Step}, {@link
 *       temse.server.ClientAndMessage}.
 *   <li>What a handler may ask while it runs: {@link temse.server.MilterConnection}; what a report
 *       is about: {@link temse.server.ConnectionInfo}.
 *   <li>To serve it: {@link temse.server.MilterServer}, {@link temse.server.EngineOptions}.
 *   <li>To see what happens: {@link temse.server.ServerListener}, {@link
 *       temse.server.SystemLoggerListener}, {@link temse.server.Exchange}, {@link
 *       temse.server.OutdatedConnection}, {@link temse.server.ServerCounters}; which mail a report
 *       is about: {@link temse.server.MailInfo}; how long handlers take: {@link
 *       temse.server.HandlerTimer}, {@link temse.server.HandlerTimes}.
 *   <li>To write filters in another way, as temse's Clojure side does: {@link
 *       temse.server.MilterFactory}, {@link temse.server.MilterHandler}. They know events and
 *       actions as maps.
 * </ul>
 *
 * <h2>Threads</h2>
 *
 * <p>The handlers of one MTA connection run one at a time, in the order of its events, on whatever
 * thread; those of several run at the same time. A handler may block: other connections go on
 * without it. A {@link temse.server.MilterConnection} may be used by any thread until its event is
 * settled. Listeners and watchers are called in the turn of the connection that a report is about.
 * Options, counters, events, actions and steps are immutable; builders belong to one thread.
 */
@NullMarked
package temse.server;

import org.jspecify.annotations.NullMarked;
