/** Collects whole messages for the Clojure side. Not for users. */
package temse.message.internal;
