(ns temse.impl.command.init
  "The command init: makes a project that runs, with a filter, its test and its configuration."
  {:no-doc true}
  (:require
   [clojure.java.io :as io]
   [clojure.string :as string]
   [temse.impl.command.arguments :as arguments :refer [fail say]])
  (:import
   (java.io File)))

(set! *warn-on-reflection* true)

(def command
  "See temse.impl.command.arguments."
  {:usage ["temse init DIRECTORY [--scripts]"]
   :about ["Makes a project that runs: a filter, a test of it, temse.edn, deps.edn and a"
           "README with the commands to test and to serve it. Nothing is overwritten."]
   :options [["--scripts" "a small script for each event instead of a namespace with handlers"]]
   :exit "0 if the project was made, 2 if not."})

(def ^:private files
  "What a project consists of: where each file is in it, and where its text is among the resources."
  (let [own (fn [kind paths] (into {"deps.edn" "deps.edn"} (map #(vector % (str kind "/" %))) paths))]
    {:filter (own "filter" ["README.md" "temse.edn" "src/word_filter.clj" "test/word_filter_test.clj"])
     :scripts (own "scripts" ["README.md" "temse.edn" "handler/connect.clj" "handler/mail.clj"
                              "handler/header.clj" "handler/end_of_message.clj" "test/scripts_test.clj"])}))

(defn- quoted
  "Returns a path as a shell takes it."
  [path]
  (if (re-matches #"[\w./+@%:,-]+" path)
    path
    (str "'" (string/replace path "'" "'\\''") "'")))

(defn- values
  "Returns what is written in place of the names in braces. `root` is the directory of temse, or nil where it
  was not started from there."
  [^File directory root]
  {"name" (.getName (.getCanonicalFile directory))
   "temse" (if root (quoted (str root "/bin/temse")) "temse")
   "library" (if root
               (str ":local/root " (pr-str root))
               (str ":mvn/version " (pr-str (string/trim (slurp (io/resource "temse/VERSION"))))))})

(defn- filled
  [text values]
  (string/replace text #"\{\{(\w+)\}\}" (fn [[_ value]] (values value))))

(defn- check-free
  [^File directory paths]
  (when (.isFile directory)
    (fail directory ": it is a file; name a directory"))
  (when-let [there (first (filter #(.exists (io/file directory ^String %)) paths))]
    (fail (io/file directory there) " is there already, and init overwrites nothing")))

(defn- make
  [{:keys [scripts] [path :as words] :words}]
  (when-not (= 1 (count words))
    (arguments/misused command "name one directory"))
  (let [directory (io/file path)
        project (files (if scripts :scripts :filter))
        values (values directory (System/getProperty "temse.root"))]
    (check-free directory (keys project))
    (doseq [[path source] (sort project)
            :let [file (io/file directory path)]]
      (io/make-parents file)
      (spit file (filled (slurp (io/resource (str "temse/project/" source))) values))
      (say file))
    (say (str (io/file directory "README.md")) "says how to test and serve it")))

(defn run
  "Runs the command and returns its exit code."
  [args]
  (arguments/run command args make))
