package temse.junit;

import java.lang.annotation.Documented;
import java.lang.annotation.ElementType;
import java.lang.annotation.Retention;
import java.lang.annotation.RetentionPolicy;
import java.lang.annotation.Target;

/** Says to which of several {@link MilterExtension}s of a class a parameter is connected. */
@Documented
@Retention(RetentionPolicy.RUNTIME)
@Target(ElementType.PARAMETER)
public @interface ConnectedTo {
  /** {@return the name that {@link MilterExtension#named} gave to the extension} */
  String value();
}
