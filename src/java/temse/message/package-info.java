/**
 * Whole messages: collected from events, with a body that moves to a file where it is large, and
 * changed by the smallest list of actions.
 */
package temse.message;
