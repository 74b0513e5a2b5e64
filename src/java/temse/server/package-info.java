/** The milter side: filters, and the server that calls them. */
package temse.server;
