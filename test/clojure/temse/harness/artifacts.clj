(ns temse.harness.artifacts
  "The library as its users get it: installed by bin/install in a Maven repository of the tests, and
  the projects of users beside it. All is kept below target/artifacts.

  The repository shares the files of others with the machine's own, so that little is fetched."
  (:require
   [clojure.java.io :as io]
   [clojure.string :as string]
   [temse.runner :as runner])
  (:import
   (java.io File)
   (java.nio.file Files)
   (java.nio.file.attribute FileAttribute)
   (java.util.jar JarFile)))

(set! *warn-on-reflection* true)

(def version
  (string/trim (slurp "resources/temse/VERSION")))

(def ^:private directory
  (.getAbsoluteFile (io/file "target/artifacts")))

(defn- delete-tree
  "Deletes a file or a directory; of a link the link alone."
  [^File file]
  (when (and (.isDirectory file) (not (Files/isSymbolicLink (.toPath file))))
    (run! delete-tree (.listFiles file)))
  (Files/deleteIfExists (.toPath file)))

(defn- link
  [^File from ^File to]
  (Files/createSymbolicLink (.toPath from) (.toPath (.getCanonicalFile to)) (make-array FileAttribute 0)))

(defn make-repository
  "Returns a Maven repository without temse, made afresh."
  ^File [name]
  (let [repository (io/file directory name)]
    (delete-tree repository)
    (.mkdirs repository)
    (doseq [^File group (.listFiles (io/file (System/getProperty "user.home") ".m2/repository"))
            :when (and (.isDirectory group) (not= "temse" (.getName group)))]
      (link (io/file repository (.getName group)) group))
    repository))

(defn tool
  "Returns the path of a tool of this JDK."
  [name]
  (str (io/file (System/getProperty "java.home") "bin" name)))

(defn ran
  "Runs a command in a directory, with this JDK, and returns what it prints. It must end with 0; without a
  network it may skip the test instead."
  [dir & command]
  (let [builder (doto (ProcessBuilder. ^java.util.List (mapv str command))
                  (.directory (io/file dir))
                  (.redirectErrorStream true))
        _ (doto (.environment builder)
            (.put "JAVA_HOME" (System/getProperty "java.home"))
            (.put "PATH" (str (.getParent (io/file (tool "java"))) ":" (System/getenv "PATH"))))
        process (.start builder)
        _ (.close (.getOutputStream process))
        output (slurp (.getInputStream process))]
    (cond
      (zero? (.waitFor process)) output

      (re-find #"Could not transfer|Unknown host|UnknownHostException|Connection refused|in offline mode" output)
      (runner/skip! (str (first command) " cannot fetch what it needs"))

      :else (throw (ex-info (str (string/join " " command) "\n" output) {})))))

(defn require-command
  "Skips the test where a command is not there."
  [command]
  (when-not (some #(.canExecute (io/file % command)) (string/split (System/getenv "PATH") #":"))
    (runner/skip! (str "there is no " command))))

(defn file-of
  "Returns the file of the library in a repository whose name ends so: \".jar\" \".pom\"
  \"-sources.jar\" \"-javadoc.jar\"."
  ^File [repository ending]
  (io/file repository "temse/temse" version (str "temse-" version ending)))

(def repository
  "A delay of the repository that bin/install has installed the library in."
  (delay (doto (make-repository "repository")
           (#(ran "." "bin/install" %)))))

(defn installed
  "Returns a file that bin/install has installed, by the ending of its name."
  ^File [ending]
  (file-of @repository ending))

(defn jar-of
  "Returns the jar on the class path of the tests whose name begins so and goes on with a version."
  [name]
  (let [pattern (re-pattern (str ".*" File/separator name "-\\d[^" File/separator "]*[.]jar"))]
    (some #(re-matches pattern %)
          (string/split (System/getProperty "java.class.path") (re-pattern File/pathSeparator)))))

(defn class-path
  [& files]
  (string/join File/pathSeparator files))

(defn entries
  "Returns the names of the files in a jar."
  [^File file]
  (with-open [jar (JarFile. file)]
    (into (sorted-set) (comp (map str) (remove #(string/ends-with? % "/"))) (enumeration-seq (.entries jar)))))

(defn manifest
  "Returns the main attributes of a jar."
  [^File file]
  (with-open [jar (JarFile. file)]
    (update-keys (into {} (.getMainAttributes (.getManifest jar))) str)))

(defn project
  "Makes the project of a user afresh, with texts by path, and returns its directory."
  ^File [name files]
  (let [dir (io/file directory name)]
    (delete-tree dir)
    (doseq [[path text] files
            :let [file (io/file dir path)]]
      (io/make-parents file)
      (spit file text))
    dir))

(defn clone
  "Returns a copy of the library's tree, without what is compiled."
  ^File [name]
  (let [dir (project name {"test/clojure/none" "", "test/resources/none" ""})]
    (doseq [path ["src" "resources" "deps.edn" "build.clj" "project.clj" "LICENSE" "README.org"]
            ^File file (file-seq (io/file path))
            :when (.isFile file)]
      (io/make-parents (io/file dir (str file)))
      (io/copy file (io/file dir (str file))))
    dir))

(defn checkout
  "Makes a tree of the library a checkout of a user's project."
  [^File project tree]
  (.mkdirs (io/file project "checkouts"))
  (link (io/file project "checkouts" "temse") tree))
