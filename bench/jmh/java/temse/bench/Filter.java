package temse.bench;

import clojure.java.api.Clojure;
import clojure.lang.IDeref;
import java.lang.reflect.Method;
import temse.server.MilterFactory;
import temse.server.ServerListener;
import temse.server.SystemLoggerListener;

/** The filter that is measured, of both APIs, and the listener beside which it is served. */
public enum Filter {
  /** examples/java/SeenFilter.java. */
  JAVA {
    @Override
    MilterFactory factory() throws ReflectiveOperationException {
      Method milter = Class.forName("SeenFilter").getDeclaredMethod("milter");
      milter.setAccessible(true);
      return (MilterFactory) milter.invoke(null);
    }

    @Override
    ServerListener listener() {
      return new SystemLoggerListener(System.getLogger("seen"));
    }
  },

  /** examples/seen_filter.clj. */
  CLOJURE {
    @Override
    MilterFactory factory() {
      require("seen-filter");
      Object options = ((IDeref) Clojure.var("seen-filter", "filter")).deref();
      return (MilterFactory) Clojure.var("temse.milter", "factory").invoke(options);
    }

    @Override
    ServerListener listener() {
      require("temse.impl.log");
      return (ServerListener) Clojure.var("temse.impl.log", "listener").invoke("seen", null);
    }
  };

  abstract MilterFactory factory() throws ReflectiveOperationException;

  abstract ServerListener listener();

  private static void require(String namespace) {
    Clojure.var("clojure.core", "require").invoke(Clojure.read(namespace));
  }
}
