/**
 * Sockets and threads, nothing of milter: event loops that never wait for user code.
 *
 * <p>{@link temse.transport.SocketServer} listens on {@link temse.transport.Endpoint}s and has each
 * connection served by a {@link temse.transport.Conversation}, which knows the protocol and gets
 * its bytes through a {@link temse.transport.Link}. The hand-over of a loop from a thread that user
 * code blocks to a spare one is told in {@code EventLoop}.
 */
package temse.transport;
