package temse.fuzz;

import clojure.java.api.Clojure;
import clojure.lang.IFn;

/**
 * What Jazzer calls with each input: the target of {@code temse.fuzz.targets} that its argument
 * names.
 */
public final class FuzzTarget {
  private static IFn target;

  private FuzzTarget() {}

  /**
   * Loads the namespaces of the target while Jazzer instruments classes.
   *
   * @param arguments the name of the target
   */
  public static void fuzzerInitialize(String[] arguments) {
    String namespace = "temse.fuzz.targets";
    Clojure.var("clojure.core", "require").invoke(Clojure.read(namespace));
    target = (IFn) Clojure.var(namespace, "checked").invoke(arguments[0]);
  }

  /**
   * Runs the target.
   *
   * @param input any bytes
   */
  public static void fuzzerTestOneInput(byte[] input) {
    target.invoke(input);
  }
}
