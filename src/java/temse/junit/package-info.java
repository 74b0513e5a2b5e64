/**
 * Tests of milters with JUnit Jupiter 5.0 or later, which users bring themselves: {@link
 * temse.junit.MilterExtension}, and {@link temse.junit.ConnectedTo} where a class has several.
 */
@NullMarked
package temse.junit;

import org.jspecify.annotations.NullMarked;
