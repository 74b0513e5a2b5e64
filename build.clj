(ns build
  "Compiles the Java sources for the Clojure CLI, which does not do it by itself, and makes the jars.

    clojure -T:build compile-java   ; src/java to target/classes
    clojure -T:build jar            ; the library, its sources and its Javadoc, in target
    clojure -T:build install        ; the same in the local Maven repository
    clojure -M:temse demo           ; the command line
    clojure -X:test                 ; all tests

  All but the first compile first if need be. What a JDK and Clojure have suffices for all of
  them, so that preparing a git dependency fetches little, and `bin/install` needs no Clojure CLI."
  (:require
   [clojure.edn :as edn]
   [clojure.java.io :as io]
   [clojure.string :as str])
  (:import
   (clojure.lang DynamicClassLoader)
   (java.io File IOException)
   (java.time LocalDateTime)
   (java.util Locale)
   (java.util.jar JarEntry JarOutputStream)
   (java.util.spi ToolProvider)
   (javax.tools JavaCompiler)))

(set! *warn-on-reflection* true)

(defn- exists? [file]
  (.exists (io/file file)))

(defn- delete-tree [dir]
  (run! io/delete-file (reverse (filter exists? (file-seq (io/file dir))))))

(defn- files-below [dir]
  (filter #(.isFile ^File %) (file-seq (io/file dir))))

(defn- class-path []
  (->> (str/split (System/getProperty "java.class.path") (re-pattern File/pathSeparator))
       (filter exists?)
       (str/join File/pathSeparator)))

(defn- javac [source target & class-path]
  (let [^JavaCompiler compiler (or (javax.tools.ToolProvider/getSystemJavaCompiler)
                                   (throw (ex-info "A JDK is needed, not a JRE" {})))
        options ["--release" "17" "-encoding" "UTF-8" "-Xlint:all" "-Werror" "-d" target
                 "-cp" (str/join File/pathSeparator class-path)]
        files (sort (filter #(str/ends-with? % ".java") (map str (files-below source))))
        arguments ^"[Ljava.lang.String;" (into-array String (concat options files))]
    (when-not (zero? (.run compiler nil nil nil arguments))
      (throw (ex-info (str "Cannot compile " source) {:source source})))))

(defn- compile-tree
  "Compiles the Java sources below one directory into another, from scratch, unless the
  stamp beside the latter is newer than all of them and than src/java, which all others use."
  [source target & class-path]
  (let [stamp (io/file (str target ".stamp"))
        new (str target ".new")
        started (System/currentTimeMillis)]
    (when (some #(<= (.lastModified stamp) (.lastModified ^File %))
                (mapcat (comp file-seq io/file) ["deps.edn" "src/java" source]))
      (delete-tree new)
      (.mkdirs (io/file new))
      (apply javac source new class-path)
      (delete-tree target)
      (.renameTo (io/file new) (io/file target))
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

;; Jars

(def ^:private deps (edn/read-string (slurp "deps.edn")))

(def ^:private version (str/trim (slurp "resources/temse/VERSION")))

(defn- git
  "Returns the line that git prints, nil if there is none: not in a clone, or no git."
  [& arguments]
  (try
    (let [process (.start (ProcessBuilder. ^java.util.List (cons "git" arguments)))]
      (not-empty (str/trim (slurp (.getInputStream process)))))
    (catch IOException _
      nil)))

(defn web-address
  "Returns the https address of what a git remote names by a host, without user and password; nil
  for a path.

    (web-address \"git@example.org:mail/temse.git\")   ; => \"https://example.org/mail/temse\""
  [remote]
  (when-let [[_ host path] (re-matches #"(?:\w+://)?(?:[^/@]*@)?([\w-]+(?:\.[\w-]+)+)(?::\d+)?[:/]/?(.+?)(?:\.git)?/?"
                                       (or remote ""))]
    (str "https://" host "/" path)))

(defn- xml
  "Returns an element, given as [name & children], as text. A nil child is left out."
  [indent [tag & children]]
  (let [children (remove nil? children)
        content (if (every? string? children)
                  (str/escape (apply str children) {\& "&amp;", \< "&lt;"})
                  (str "\n" (apply str (map #(xml (str indent "  ") %) children)) indent))]
    (str indent "<" (name tag) ">" content "</" (first (str/split (name tag) #" ")) ">\n")))

(defn- dependencies [scope coordinates]
  (for [[artifact {:mvn/keys [version]}] (sort coordinates)]
    [:dependency
     [:groupId (namespace artifact)]
     [:artifactId (name artifact)]
     [:version version]
     [:scope scope]]))

(defn- pom []
  (let [{:keys [description license]} (:temse/pom deps)
        address (some-> (git "remote" "get-url" "origin") web-address)
        commit (git "rev-parse" "HEAD")]
    (str "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
         (xml ""
              ["project xmlns=\"http://maven.apache.org/POM/4.0.0\""
               [:modelVersion "4.0.0"]
               [:groupId "temse"]
               [:artifactId "temse"]
               [:version version]
               [:name "temse"]
               [:description description]
               (when address [:url address])
               [:licenses [:license [:name (:name license)] [:url (:url license)]]]
               (when commit
                 [:scm
                  (when address [:connection (str "scm:git:" address)])
                  [:tag commit]
                  (when address [:url address])])
               (into [:dependencies]
                     (concat (dependencies "compile" (:deps deps))
                             ;; What src/java is compiled against, and brought by those who use it.
                             (dependencies "provided" (get-in deps [:aliases :build :extra-deps]))))]))))

(defn- entries
  "Returns the files below directories, by their names in a jar."
  [& dirs]
  (into {}
        (for [dir dirs, ^File file (files-below dir)]
          [(str/replace (str (.relativize (.toPath (io/file dir)) (.toPath file))) File/separator "/") file])))

(def ^:private manifest
  ;; With a descriptor, module-info, Clojure could not read its sources from a module path.
  "Manifest-Version: 1.0\nAutomatic-Module-Name: temse\n")

(defn- write-jar
  "Writes a jar, the same bytes for the same entries, which are files or texts by name. Their time is not the
  earliest that a zip can hold: that one is written with the time zone."
  [file entries]
  (with-open [out (JarOutputStream. (io/output-stream file))]
    (doseq [[entry content] (cons ["META-INF/MANIFEST.MF" manifest]
                                  (sort (assoc entries "META-INF/LICENSE" (io/file "LICENSE"))))]
      (.putNextEntry out (doto (JarEntry. ^String entry)
                           (.setTimeLocal (LocalDateTime/of 1980 2 1 0 0))))
      (io/copy content out)
      (.closeEntry out))))

(defn- in-english
  "Calls f, whose texts are to be the same on every machine. Newer versions of javadoc fall back to the default
  locale in spite of -locale."
  [f]
  (let [locale (Locale/getDefault)]
    (try
      (Locale/setDefault Locale/ENGLISH)
      (f)
      (finally
        (Locale/setDefault locale)))))

(defn- javadoc [target]
  (let [tool ^ToolProvider (.orElseThrow (ToolProvider/findFirst "javadoc"))
        arguments ["-locale" "en" "-quiet" "-Xdoclint:all" "-Werror" "-notimestamp" "--release" "17" "-encoding" "UTF-8"
                   "-windowtitle" (str "temse " version) "-doctitle" (str "temse " version)
                   "-overview" "src/java/overview.html"
                   "-d" target "-cp" (class-path) "-sourcepath" "src/java" "-subpackages" "temse"]]
    (delete-tree target)
    (when-not (zero? (in-english
                       #(.run tool System/out System/err ^"[Ljava.lang.String;" (into-array String arguments))))
      (throw (ex-info "Cannot make the Javadoc" {})))))

(defn jar
  "Makes the jars of the library, of its Java sources and of its Javadoc, and its POM, in target.
  Returns the files by what Maven adds to the artifact's name."
  [_options]
  (compile-java nil)
  (javadoc "target/javadoc")
  (let [endings [".jar" ".pom" "-sources.jar" "-javadoc.jar"]
        [library pom-file sources documentation :as files]
        (map #(io/file "target" (str "temse-" version %)) endings)]
    (spit pom-file (pom))
    (write-jar library
               (assoc (entries "target/classes" "src/clojure" "resources")
                 "META-INF/maven/temse/temse/pom.xml" pom-file
                 "META-INF/maven/temse/temse/pom.properties"
                 (str "groupId=temse\nartifactId=temse\nversion=" version "\n")))
    (write-jar sources (entries "src/java"))
    (write-jar documentation (entries "target/javadoc"))
    (zipmap endings files)))

(defn install
  "Makes the jars and copies them to the local Maven repository: to `:local-repo`, by default
  ~/.m2/repository."
  [{:keys [local-repo]}]
  (let [directory (io/file (or local-repo (io/file (System/getProperty "user.home") ".m2" "repository"))
                           "temse"
                           "temse"
                           version)]
    (.mkdirs directory)
    (doseq [[ending file] (jar nil)]
      (io/copy file (io/file directory (str "temse-" version ending))))
    (println "Installed temse" version "in" (str directory))))

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
