/**
 * The benchmark: an MTA that measures milters. It uses nothing of the library, so that it is cheap
 * and checks every byte independently.
 */
package temse.bench;
