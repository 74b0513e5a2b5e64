(ns temse.bench.situations
  "Measures what no load driver shows: handlers that wait, idle connections, the start of the
  process, and real MTAs. Prints what was reached beside what was aimed at, and writes
  target/bench/situations.edn.

  `bin/bench situations [slow-handler pending idle cold-start mtas]` compiles everything and runs it in
  the directory of the project."
  (:require
   [clojure.java.io :as io]
   [clojure.pprint :as pprint]
   [temse.bench.cold-start :as cold-start]
   [temse.bench.idle :as idle]
   [temse.bench.real-mtas :as real-mtas]
   [temse.bench.waits :as waits])
  (:import
   (java.util Locale)))

(set! *warn-on-reflection* true)

(def ^:private situations
  (array-map
    :slow-handler waits/sleeping
    :pending waits/pending
    :idle #(mapv idle/measure [:java :clojure])
    :cold-start cold-start/measure
    :mtas real-mtas/measure))

(def ^:private patience-ms
  "How long a situation may take before it counts as stuck."
  300000)

(def ^:private results "target/bench/situations.edn")

;; ---- the table: rows of [label value unit], and of a bound if one is aimed at: [<= limit]

(defn- text [pattern & values]
  (String/format Locale/ROOT pattern (to-array values)))

(defn- slow-handler-rows [{:keys [connections sleep-ms sleeps-per-second alone beside threads-alone
                                  threads]}]
  (concat
    [[(str "handlers that sleep " sleep-ms " ms, over " connections " connections")
      sleeps-per-second "a second"]]
    (for [kind [:same-event :other-event]
          [place trips bound] [["alone" alone] ["beside these" beside [<= 5]]]
          [figure bound] [[:p50-ms] [:p99-ms bound]]]
      [(str (name kind) " over 8 others, " place ", " (name figure)) (get-in trips [kind figure])
       "ms" bound])
    [["threads, alone" threads-alone ""]
     ["threads, beside these" threads ""]]))

(defn- pending-rows [{:keys [connections threads threads-without]}]
  [[(str "threads, " connections " events at once") threads-without ""]
   [(str "threads, " connections " pending values at once") threads "" [<= threads-without]]])

(defn- idle-rows [results]
  (for [{:keys [server wanted connections open served resident-kib untrimmed-kib objects-kib]}
        results
        [label & figures] [["idle connections" connections
                            (if (< connections wanted) "by the limit of open files," "")
                            [>= wanted]]
                           ["of these still open in the end" open "" [>= connections]]
                           ["mails over some of these" served ""]
                           ["resident memory of each" resident-kib "KiB" [<= 4]]
                           ["the same with free heap" untrimmed-kib "KiB"]
                           ["objects of each" objects-kib "KiB"]]]
    (into [(str (name server) ", " label)] figures)))

(defn- cold-start-rows [results]
  (for [[variant bound] [[:clojure-with-archive [<= 800]]
                         [:clojure-without-archive [<= 1500]]
                         [:java]]
        [figure bound] [[:accepted-ms bound] [:negotiated-ms]]]
    [(str (name variant) ", " (name figure)) (get-in results [variant figure]) "ms" bound]))

(defn- mta-rows [results]
  (let [libmilter (some #(when (= [:sendmail :tcp :libmilter] ((juxt :mta :socket :server) %))
                           (:median-ms %))
                        results)]
    (concat
      (for [{:keys [mta socket server median-ms p90-ms]} results]
        [(str (name mta) " " (name socket) " " (name server) ", median")
         median-ms (text "ms, 90 %% in %.1f ms" p90-ms)])
      (for [{:keys [mta socket server median-ms]} results
            :when (and (= [:sendmail :tcp] [mta socket]) (not= :libmilter server))]
        [(str "sendmail tcp " (name server) ", times as fast as libmilter")
         (/ libmilter median-ms) ""
         (when (not= :message server)
           [>= 15])]))))

(def ^:private rows-of
  {:slow-handler slow-handler-rows
   :pending pending-rows
   :idle idle-rows
   :cold-start cold-start-rows
   :mtas mta-rows})

(defn- judgement [value [holds? limit]]
  (cond
    (nil? holds?) ""
    (holds? value limit) (str "target " limit ", met")
    :else (str "target " limit ", MISSED")))

(defn- print-row [[label value unit bound]]
  (println (text "  %-56s %10s %s"
                 label
                 (if (int? value) (text "%d   " value) (text "%.2f" value))
                 (str unit " " (judgement value bound)))))

(defn- measure [situation]
  (println (name situation))
  (let [result (deref (future ((situations situation))) patience-ms ::stuck)]
    (when (= ::stuck result)
      (throw (ex-info (str "stuck in " situation) {})))
    (run! print-row ((rows-of situation) result))
    (flush)
    [situation result]))

(defn -main
  "Measures the situations of these names, or all."
  [& names]
  (let [measured (into {} (map measure) (if (seq names) (map keyword names) (keys situations)))]
    (with-open [writer (io/writer results)]
      (pprint/pprint measured writer)))
  (shutdown-agents))
