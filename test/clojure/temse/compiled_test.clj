(ns temse.compiled-test
  "bin/temse itself, in the jar of which the namespaces are compiled: see bin/compile.clj."
  (:require
   [clojure.java.io :as io]
   [clojure.string :as string]
   [clojure.test :refer [deftest is]]
   [temse.support :refer [with-directory]]
   [temse.test :as mt])
  (:import
   (java.io BufferedReader File)
   (java.util List)
   (java.util.concurrent TimeUnit)))

(set! *warn-on-reflection* true)

(defn- start
  ^Process [& arguments]
  (-> (ProcessBuilder. ^List (into ["bin/temse"] arguments))
      (.redirectErrorStream true)
      (doto (-> .environment (.put "JAVA_HOME" (System/getProperty "java.home"))))
      (.start)))

(def ^:private set-up
  "Compiles what has changed, and says so."
  (delay (slurp (.getInputStream (start "version")))))

(defn- with-filter
  "Calls f with the process of a filter of this text that bin/temse runs, and ends it."
  [text arguments f]
  @set-up
  (with-directory
    {"tried.clj" text}
    (fn [directory]
      (let [process ^Process (apply start "run" (str (io/file directory "tried.clj")) arguments)]
        (try
          (f process)
          (finally
            (.destroyForcibly process)))))))

(defn- printed
  "Returns the exit code of a filter that is a function of no arguments, and what it prints."
  [text]
  (with-filter text []
    (fn [^Process process]
      (let [output (slurp (.getInputStream process))]
        [(when (.waitFor process 60 TimeUnit/SECONDS)
           (.exitValue process))
         output]))))

(def ^:private namespaces
  "Those that need no library beside what bin/temse has."
  (for [^File file (file-seq (io/file "src/clojure"))
        :when (.isFile file)
        :let [text (slurp file)]
        :when (not (re-find #"com\.ibm\.icu|HikariCP|org\.xbill|clojure\.test\.check" text))]
    (second (re-find #"\(ns (\S+)" text))))

(deftest every-namespace-loads-and-refers-to-nothing-of-clojure-core
  (is (< 50 (count namespaces)))
  (is (= [0 "()\n"]
         (printed (str "(fn []
                          (run! require '[" (string/join " " namespaces) "])
                          (prn (for [namespace (all-ns)
                                     :when (re-find #\"^temse.(?!filter-file)\" (name (ns-name namespace)))
                                     :when (some #{#'clojure.core/inc} (vals (ns-refers namespace)))]
                                 (ns-name namespace)))
                          0)")))))

(def ^:private busy
  "(ns tried
     (:refer-clojure :exclude [filter])
     (:require [clojure.core.async :refer [<!]]
               [temse.action :as act]
               [temse.async :refer [go]]))
   (def filter
     {:mail (fn [{:keys [sender]} _]
              (when (re-find #\"broken\" sender)
                (throw (IllegalStateException. \"as it should\"))))
      :recipient (fn [{:keys [address]} _]
                   (go
                     (when (= \"<no@example.com>\" (<! (go address)))
                       [(act/reject)])))})")

(deftest filters-have-the-names-of-clojure-and-the-macros-of-libraries
  (with-filter busy ["--listen" "inet:0@127.0.0.1"]
    (fn [^Process process]
      (with-open [output ^BufferedReader (io/reader (.getInputStream process))]
        (let [[_ address] (some #(re-find #"listens on (\S+)" %) (line-seq output))
              fate #(:fate (mt/run-message address %))]
          (is (= :delivered (fate {})))
          (is (= :refused (fate {:recipients ["<no@example.com>"]})))
          (is (= :deferred (fate {:sender "<broken@example.com>"})))
          (.destroy (.toHandle process))
          (is (some #(string/includes? % "as it should") (line-seq output))))))))

(deftest an-archive-for-a-quick-start-is-there
  (is (= [0 ""] (printed "(fn [] 0)")))
  (let [java (string/replace (.getCanonicalPath (io/file (System/getProperty "java.home") "bin/java")) "/" "-")]
    (is (some (fn [^File file]
                (and (re-find #"\.(jsa|aot)$" (.getName file))
                     (string/includes? (.getName file) java)
                     (< 10000000 (.length file))))
              (file-seq (io/file "target/bin"))))))
