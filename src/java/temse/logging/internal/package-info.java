/** What formats log lines on both sides, Java and Clojure. Not for users. */
package temse.logging.internal;
