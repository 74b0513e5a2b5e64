(ns temse.impl.class-path
  "The class path of a filter: files that the operator names, and a deps.edn."
  {:no-doc true}
  (:require
   [clojure.edn :as edn]
   [clojure.java.io :as io]
   [clojure.java.shell :as shell]
   [clojure.string :as string]
   [temse.impl.command.arguments :as arguments :refer [fail]])
  (:import
   (java.io File IOException)
   (java.nio.file Files)
   (java.nio.file.attribute FileAttribute)
   (java.security MessageDigest)
   (java.util HexFormat)))

(set! *warn-on-reflection* true)

(defn- split-path
  [path]
  (remove string/blank? (string/split (string/trim path) (re-pattern File/pathSeparator))))

(defn- existing
  [option path]
  (arguments/check-readable path option ": ")
  path)

(defn- given-entries
  [class-path]
  (map #(existing "--class-path" %) (split-path class-path)))

;; ---- deps.edn

(defn- say-looking-up
  [deps]
  (binding [*out* *err*]
    (println (str "temse: looking up the dependencies of " deps))))

(defn- ran
  "Returns what a command prints, or nil if there is no such command or it fails."
  [& command]
  (try
    (let [{:keys [exit out err]} (apply shell/sh command)]
      (if (zero? (long exit))
        out
        (binding [*out* *err*]
          (println (str out err)))))
    (catch IOException _)))

(defn- clojure-cli?
  "Returns true if there is the Clojure CLI; Debian has a command of this name which is not."
  []
  (string/includes? (or (ran "clojure" "--version" :in "") "") "CLI"))

(defn- escaped
  [text]
  (string/escape (str text) {\& "&amp;", \< "&lt;", \> "&gt;"}))

(defn- element
  "Returns an element of XML: its name and text, or elements in it."
  [[tag & content]]
  (str "<" (name tag) ">"
       (string/join (map #(if (vector? %) (element %) (escaped %)) content))
       "</" (name tag) ">"))

(defn- artifact
  [library]
  (let [[group artifact] (if (namespace library)
                           [(namespace library) (name library)]
                           [(name library) (name library)])]
    [[:groupId group] [:artifactId (first (string/split artifact #"\$"))]]))

(defn- dependency
  [deps [library {:mvn/keys [version] :keys [exclusions]}]]
  (when-not version
    (fail deps ": without the Clojure CLI, " library " needs a :mvn/version or a :local/root"))
  (into [:dependency]
        (concat (artifact library)
                [[:version version]
                 (into [:exclusions] (map #(into [:exclusion] (artifact %)) exclusions))])))

(defn- pom
  [deps libraries repos]
  (element [:project
            [:modelVersion "4.0.0"] [:groupId "filter"] [:artifactId "filter"] [:version "0"]
            (into [:dependencies] (map #(dependency deps %) libraries))
            (into [:repositories]
                  (for [[id {:keys [url]}] repos
                        :when url]
                    [:repository [:id id] [:url url]]))]))

(defn- fetched
  "Returns the jars of a POM, fetched with Maven."
  [deps pom]
  (let [directory (str (Files/createTempDirectory "temse-" (make-array FileAttribute 0)))
        pom-file (io/file directory "pom.xml")
        path-file (io/file directory "path")]
    (say-looking-up deps)
    (try
      (spit pom-file pom)
      (when-not (ran "mvn" "-q" "-B" "-f" (str pom-file)
                     "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:build-classpath"
                     (str "-Dmdep.outputFile=" path-file))
        (fail deps ": its dependencies cannot be fetched; install the Clojure CLI or Maven"))
      (split-path (slurp path-file))
      (finally
        (run! io/delete-file (reverse (file-seq (io/file directory))))))))

(defn- kept-path
  "Returns the file in which the jars of a POM are kept for the next start, or nil where there is no
  place for it: the launcher names one."
  ^File [^String pom]
  (when-let [directory (System/getProperty "temse.cache")]
    (io/file directory
             (str (.formatHex (HexFormat/of) (.digest (MessageDigest/getInstance "SHA-256") (.getBytes pom "UTF-8")))
                  ".classpath"))))

(defn- put-in-place!
  "Makes a file that every user can read: `write` is called with one that is complete when it takes its name."
  [^File file write]
  (let [new (File/createTempFile "new" nil (.getParentFile file))]
    (write new)
    (.setReadable new true false)
    (.renameTo new file)))

(defn- keep-path!
  "Keeps copies of jars for the next start, of any user, if this one may write there."
  [^File file jars]
  (when (and file (.canWrite (.getParentFile file)))
    (let [directory (doto (io/file (.getParentFile file) "filters")
                      (.mkdir))
          copies (mapv #(io/file directory (.getName (io/file %))) jars)]
      (doseq [[jar ^File copy] (map vector jars copies)]
        (put-in-place! copy #(io/copy (io/file jar) %)))
      (put-in-place! file #(spit % (string/join File/pathSeparator copies))))))

(defn- maven-path
  "Returns the jars of libraries: those found at an earlier start, or else fetched with Maven."
  [deps libraries repos]
  (let [pom (pom deps libraries repos)
        kept (kept-path pom)
        known (when (and kept (.canRead kept)) (split-path (slurp kept)))]
    (if (and (seq known) (every? #(.canRead (io/file %)) known))
      known
      (doto (fetched deps pom)
        (->> (keep-path! kept))))))

(defn- read-deps
  [^File file]
  (arguments/check-readable file "--deps: ")
  (try
    (edn/read-string (slurp file))
    (catch Exception e
      (fail file ": " (ex-message e)))))

(defn- local-entries
  "Returns the paths of a deps.edn and of those that it names by :local/root, and adds their other
  libraries to those given: [paths libraries]."
  [[paths libraries] ^File file]
  (let [directory (.getParentFile (.getAbsoluteFile file))
        within #(let [f (io/file %)] (if (.isAbsolute f) f (io/file directory %)))
        {own-paths :paths, :keys [deps]} (read-deps file)
        {roots true, others false} (group-by (comp some? :local/root val) deps)]
    (reduce (fn [found [_ {:local/keys [root]}]]
              (let [root ^File (within root)]
                (if (.isDirectory root)
                  (local-entries found (io/file root "deps.edn"))
                  (update found 0 conj root))))
            [(into paths (map within) (or own-paths ["src"])) (into others libraries)]
            roots)))

(defn- deps-entries
  "Returns the class path of a deps.edn."
  [path]
  (let [file (.getAbsoluteFile (io/file path))
        [paths libraries] (local-entries [[] []] file)]
    (if (and (seq libraries) (= "deps.edn" (.getName file)) (clojure-cli?))
      (do
        (say-looking-up path)
        (map #(if (.isAbsolute (io/file %)) % (io/file (.getParentFile file) %))
             (split-path (or (ran "clojure" "-Spath" :dir (.getParentFile file))
                             (fail path ": its dependencies cannot be fetched")))))
      (concat paths
              (when (seq libraries)
                (maven-path path libraries (:mvn/repos (read-deps file))))))))

(defn deps-file
  "Returns the deps.edn that is given, or else the one beside the filter's file, which may be missing."
  ^File [deps filter-file]
  (.getAbsoluteFile (if deps
                      (io/file deps)
                      (io/file (.getParentFile (.getAbsoluteFile (io/file filter-file))) "deps.edn"))))

(defn entries
  "Returns the directories and jars of class paths, and of a deps.edn: the one that is given, or else the
  one beside the filter's file."
  [class-paths deps filter-file]
  (concat (mapcat given-entries class-paths)
          (cond
            deps (deps-entries deps)
            (.isFile (deps-file nil filter-file)) (deps-entries (str (deps-file nil filter-file))))))
