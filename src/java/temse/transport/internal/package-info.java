/**
 * Sockets and threads, nothing of milter: event loops that never wait for user code.
 *
 * <p>{@link temse.transport.internal.SocketServer} listens on {@link temse.transport.Endpoint}s and
 * has each connection served by a {@link temse.transport.internal.Conversation}, which knows the
 * protocol and gets its bytes through a {@link temse.transport.internal.Link}. The hand-over of a
 * loop from a thread that user code blocks to a spare one is described in {@code EventLoop}.
 *
 * <h2>Who may touch what, and when</h2>
 *
 * <ul>
 *   <li>What is marked "carrier", here and in {@code SocketLink}: the carrier. While user code runs
 *       on it, {@code Turn} decides whether it still is the carrier afterwards. If not it may not
 *       touch any of that again; {@code UserCode#isLent} says so.
 *   <li>What is marked "serving thread" in {@code SocketLink} and the conversation: the carrier
 *       while the connection is at home, the thread it is lent to while it is away. Tasks of a
 *       connection that is away wait for its return; its timers go on.
 *   <li>Writing: the serving thread, the carrier and {@link
 *       temse.transport.internal.Link#writeNow}, under the lock of {@code Sender}.
 *   <li>The rest: any thread.
 * </ul>
 *
 * <p>All code that is not the transport's counts as user code: the listener and the factory of
 * conversations too. Reports that belong to no connection are made as tasks, by the carrier or,
 * once they were caught blocking, in the {@code ReportLane}.
 *
 * <p>Memory effects pass from carrier to carrier with the turn, to a spare with its start, and back
 * with the tasks.
 */
package temse.transport.internal;
