/**
 * Log lines for programs: {@link temse.logging.JsonFormatter}, for java.util.logging.
 *
 * <p>Requires the JDK's module {@code java.logging}.
 */
@NullMarked
package temse.logging;

import org.jspecify.annotations.NullMarked;
