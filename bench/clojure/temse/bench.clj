(ns temse.bench
  "Measures temse beside libmilter, a server that does nothing, and others: see bin/bench."
  (:require
   [clojure.string :as string]
   [temse.bench.allocation :as allocation]
   [temse.bench.load :as load]
   [temse.bench.page :as page]
   [temse.bench.real-mtas :as real-mtas]
   [temse.bench.results :as results]
   [temse.bench.targets :as targets])
  (:import
   (java.util.concurrent TimeUnit)))

(set! *warn-on-reflection* true)

(def ^:private all-sections
  "What is measured: names, and functions that return a map of results."
  (array-map "allocation" #(hash-map :allocation (allocation/measure))
             "start" #(hash-map :start (load/start))
             "memory" #(hash-map :memory (load/memory))
             "mtas" #(hash-map :mtas (real-mtas/measure))
             "load" load/measure))

(defn- timed
  "Returns what f returns, and prints how long that took."
  [title f]
  (let [start (System/nanoTime)
        result (f)
        seconds (.toSeconds TimeUnit/NANOSECONDS (- (System/nanoTime) start))]
    (println (format "\n%s took %d:%02d minutes" title (quot seconds 60) (rem seconds 60)))
    result))

(defn- measured-targets [judged]
  (for [[title targets] judged
        :let [measured (filter :verdict targets)]
        :when (seq measured)]
    [title measured]))

(defn- report
  "Prints the targets that were measured."
  [results]
  (let [judged (measured-targets (targets/judged results))]
    (println (str "\n" (page/targets-text {"reached" judged}) "\n\nTargets: " (page/summary judged)))
    (doseq [id (page/without-reason judged)]
      (println "no reason is given for" id))))

(defn- measure [names]
  (into (results/machine)
        (mapcat #(timed % (all-sections %)))
        names))

(defn- measure-all []
  (let [results (measure (keys all-sections))]
    (results/write results)
    (page/write)
    (report results)))

(defn- compare-filters [[filters workloads root]]
  (let [keywords #(map keyword (string/split % #","))]
    (load/compare-filters (keywords filters) (keywords workloads) root)))

(defn -main
  "Does what bin/bench was asked for."
  [& [command & arguments :as sections]]
  (timed (string/join " " (cons "bin/bench" sections))
         #(case command
            nil (measure-all)
            "quick" (report (load/measure-quickly))
            "page" (page/write)
            "compare" (compare-filters arguments)
            (report (measure sections))))
  (shutdown-agents))
