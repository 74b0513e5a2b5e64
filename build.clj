(ns build
  "Compiles the Java sources for the Clojure CLI, which does not do it by itself.

    clojure -T:build compile-java   ; src/java to target/classes
    clojure -M:temse demo           ; the command line
    clojure -X:test                 ; all tests

  The last two compile first if need be."
  (:require
   [clojure.java.io :as io]
   [clojure.string :as str])
  (:import
   (clojure.lang DynamicClassLoader)
   (java.io File)
   (javax.tools JavaCompiler ToolProvider)))

(set! *warn-on-reflection* true)

(defn- exists? [file]
  (.exists (io/file file)))

(defn- delete-tree [dir]
  (run! io/delete-file (reverse (filter exists? (file-seq (io/file dir))))))

(defn- class-path []
  (->> (str/split (System/getProperty "java.class.path") (re-pattern File/pathSeparator))
       (filter exists?)
       (str/join File/pathSeparator)))

(defn- javac [source target & class-path]
  (let [^JavaCompiler compiler (or (ToolProvider/getSystemJavaCompiler)
                                   (throw (ex-info "A JDK is needed, not a JRE" {})))
        options ["--release" "17" "-encoding" "UTF-8" "-Xlint:all" "-Werror" "-d" target
                 "-cp" (str/join File/pathSeparator class-path)]
        files (filter #(str/ends-with? % ".java") (map str (file-seq (io/file source))))
        arguments ^"[Ljava.lang.String;" (into-array String (concat options files))]
    (when-not (zero? (.run compiler nil nil nil arguments))
      (throw (ex-info (str "Cannot compile " source) {:source source})))))

(defn- compile-tree
  "Compiles the Java sources below one directory into another, from scratch, unless the
  stamp beside the latter is newer than all of them and than src/java, which all others use."
  [source target & class-path]
  (let [stamp (io/file (str target ".stamp"))
        started (System/currentTimeMillis)]
    (when (some #(<= (.lastModified stamp) (.lastModified ^File %))
                (mapcat (comp file-seq io/file) ["deps.edn" "src/java" source]))
      (delete-tree target)
      (.mkdirs (io/file target))
      (apply javac source target class-path)
      (spit stamp "")
      (.setLastModified stamp started))))

(defn- load-classes-from
  "Lets namespaces required from now on see directories which did not exist when the JVM
  started, and which its class path therefore ignores."
  [& dirs]
  (let [thread (Thread/currentThread)
        loader (DynamicClassLoader. (.getContextClassLoader thread))]
    (doseq [dir dirs]
      (.addURL loader (.toURL (.toURI (io/file dir)))))
    (.setContextClassLoader thread loader)))

(defn compile-java
  "Compiles src/java to target/classes if anything changed. Also the step that prepares
  the library when it is a git dependency."
  [_options]
  (compile-tree "src/java" "target/classes" (class-path)))

(defn run-tests
  "Compiles src/java and test/java if anything changed and runs all tests, or those in
  `:only`. See `temse.runner/run`."
  [options]
  (compile-java nil)
  (compile-tree "test/java" "target/test-classes" "target/classes" (class-path))
  (load-classes-from "target/classes" "target/test-classes")
  ((requiring-resolve 'temse.runner/run) options))

(defn -main
  "Compiles src/java if anything changed and runs the command line. See `temse.cli/-main`."
  [& args]
  (compile-java nil)
  (load-classes-from "target/classes")
  (apply (requiring-resolve 'temse.cli/-main) args))
