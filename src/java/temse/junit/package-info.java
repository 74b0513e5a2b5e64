/** Tests of milters with JUnit Jupiter 5.0 or later, which users bring themselves. */
package temse.junit;
