(ns temse.impl.command.test
  "The command test: runs the tests of the project in the current directory."
  {:no-doc true}
  (:require
   [clojure.java.io :as io]
   [clojure.string :as string]
   [clojure.test :as test]
   [temse.impl.class-path :as class-path]
   [temse.impl.command.arguments :as arguments :refer [fail]]
   [temse.impl.command.console :as console]
   [temse.impl.filter-file :as filter-file])
  (:import
   (java.io File)
   (java.util.logging Level)))

(set! *warn-on-reflection* true)

(def command
  "See temse.impl.command.arguments."
  {:usage ["temse test"]
   :about ["Runs the tests of the project in the current directory: those of clojure.test in"
           "all files below test/ whose names end in _test.clj. They find what lies in the"
           "directory and in src/, or in the :paths of its deps.edn, and its :deps."]
   :options []
   :exit "0 if all tests passed, 1 if not, 2 if they cannot be run."})

(defn- test-files
  []
  (sort (filter #(string/ends-with? (str %) "_test.clj") (file-seq (io/file "test")))))

(defn- test-namespace
  "Loads a file of tests and returns its namespace."
  [^File file]
  (let [title (or (filter-file/namespace-name file)
                  (fail file ": it does not begin with an ns form"))]
    (try
      (require title)
      title
      (catch Throwable e
        (fail (filter-file/load-problem file e))))))

(defn- run-all
  [{:keys [words]}]
  (when (seq words)
    (arguments/misused command "it takes no " (first words)))
  (let [files (test-files)]
    (when (empty? files)
      (fail "there is no file test/…_test.clj in this directory"))
    (console/log-briefly! Level/WARNING)
    (filter-file/extend-class-path! (concat ["." "test"]
                                            (when-not (.isFile (io/file "deps.edn")) ["src"])
                                            (class-path/entries [] nil "temse.edn")))
    (let [{:keys [fail error]} (apply test/run-tests (mapv test-namespace files))]
      (console/flush!)
      (if (= 0 (+ (long fail) (long error))) 0 arguments/refused))))

(defn run
  "Runs the command and returns its exit code."
  [args]
  (arguments/run command args run-all))
