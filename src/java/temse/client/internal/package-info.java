/** What the Clojure side makes of the MTA's reports. Not for users. */
package temse.client.internal;
