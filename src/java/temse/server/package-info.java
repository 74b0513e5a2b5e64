/** The milter side: a connection engine without sockets, and the server that gives it some. */
package temse.server;
