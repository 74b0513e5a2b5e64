/** The MTA side: plays mail to a milter, over a socket or straight to its engine. */
package temse.client;
