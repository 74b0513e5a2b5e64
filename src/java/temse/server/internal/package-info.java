/** The milter side of one connection, an engine without sockets. Not for users. */
package temse.server.internal;
