(ns temse.bench.cold-start
  "The time from the start of a process to its first connection."
  (:require
   [temse.bench.peer :as peer]
   [temse.bench.servers :as servers])
  (:import
   (java.nio.channels SocketChannel)))

(set! *warn-on-reflection* true)

(def ^:private starts 7)

(def ^:private jdk-classes-only
  "Has the JVM use the archive with classes of the JDK, instead of the one that bin/temse names and
  which has those of the library, too. This variable is stronger than the command line."
  {"_JAVA_OPTIONS" (str "-XX:SharedArchiveFile=" servers/java-home "/lib/server/classes.jsa")})

(def ^:private variants
  {:clojure-with-archive [:clojure {}]
   :clojure-without-archive [:clojure {:environment jdk-classes-only}]
   :java [:java {}]})

(defn- start-once
  "Returns how long it takes until a connection is accepted, and until it is negotiated."
  [[server options]]
  (let [start (System/nanoTime)
        millis #(/ (- (System/nanoTime) start) 1e6)]
    (with-open [launched (servers/launch server options)]
      (let [{:keys [address]} (servers/await-listening launched)
            accepted (millis)]
        (.close ^SocketChannel (peer/connect address))
        {:accepted-ms accepted, :negotiated-ms (millis)}))))

(defn- median [values]
  (nth (sort values) (quot (count values) 2)))

(defn measure
  "Starts servers alternately and returns the medians for :clojure-with-archive,
  :clojure-without-archive and :java, all with the files in the system's cache:

    {:java {:accepted-ms 300.1 :negotiated-ms 311.2} …}"
  []
  (run! start-once (vals variants))
  (let [rounds (vec (repeatedly starts #(update-vals variants start-once)))]
    (into {}
          (for [variant (keys variants)]
            [variant (into {}
                           (for [moment [:accepted-ms :negotiated-ms]]
                             [moment (median (map #(get-in % [variant moment]) rounds))]))]))))
