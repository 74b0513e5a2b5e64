(ns temse.bench.page
  "Joins the sections of a benchmark: writes bench/results/DATE.edn and, for all workloads,
  doc/performance.org with its charts.

    java -cp bench/clojure:CLOJURE-JARS clojure.main -m temse.bench.page quick
    java -cp bench/clojure:CLOJURE-JARS clojure.main -m temse.bench.page all"
  (:require
   [clojure.java.io :as io]
   [clojure.string :as string]
   [temse.bench.chart :as chart]
   [temse.bench.results :as results]
   [temse.bench.targets :as targets]
   [temse.bench.text :as text :refer [figure formatted]]))

(set! *warn-on-reflection* true)

(def ^:private open-files
  "the limit of open files of a process on this machine is 20,000, some of which are not connections;
  none of the connections was lost")

(def ^:private reasons
  "Why a target may be missed, by its :id."
  {[:cpu :libmilter :W1r :clojure]
   "at a hundred mails a second wake-ups cost most, the null server's too; and what is compiled seldom runs"

   [:cpu :libmilter :W6 :java]
   "the null server needs nearly as much on this machine, on which libmilter needs less for its idle
  connections than on the one that the target comes from"

   [:cpu :null :W3 :java]
   "each piece of a body becomes an array that belongs to the handler; the null server only counts bytes"

   [:cpu :null :A500 :java]
   "a connection has more state than in the null server, and that of 500 does not stay in the caches"

   [:cpu :null :A500 :clojure]
   "a connection has more state than in the null server, and that of 500 does not stay in the caches"

   [:round-trip :p99 :java]
   "one round trip in a hundred waits for something else on the core: the figure differs from run to run,
  and the null server's is of the same size"

   [:round-trip :p99 :clojure]
   "one round trip in a hundred waits for something else on the core: the figure differs from run to run,
  and the null server's is of the same size"

   [:pending]
   "the number differs from run to run, and was 0 in others; probably a loop that is held up for a moment by
  so many values at once is given spare threads, which stay for a while. None waits for a value"

   [:cpu :libmilter :W4 :message]
   "a thousand handler calls a mail; it was 0.029 in a run of the same day"

   [:mails-per-second :W1 :clojure]
   "driver and server share one core here, and it was 11.8 in a run of the same day; libmilter waits for
  delayed acknowledgements most of the time"

   [:idle :open :java] open-files
   [:idle :open :clojure] open-files})

(def ^:private not-measured "Not measured in this run.")

(defn- table [columns rows]
  (if (seq rows)
    (text/table columns rows)
    not-measured))

(def ^:private servers
  "The servers in the order in which they are shown: name and colour."
  (array-map :libmilter ["libmilter, C" "#57606a"]
             :null ["null server, Java" "#afb8c1"]
             :java ["temse, Java" "#0072b2"]
             :clojure ["temse, Clojure" "#009e73"]
             :silent-null ["null server, Java, at the end" "#d0d7de"]
             :message ["temse, Clojure, at the end" "#e69f00"]
             :whole-java ["temse, Java, whole messages" "#56b4e9"]
             :whole ["temse, Clojure, whole messages" "#d55e00"]
             :jmilter ["jmilter, Java" "#8250df"]
             :pymilter ["pymilter, Python" "#a0522d"]
             :none ["no filter" "#d0d7de"]))

(defn- server-name [{:keys [server]}]
  (first (servers server)))

(defn- in-order [rows]
  (let [places (zipmap (keys servers) (range))]
    (sort-by (comp places :server) rows)))

(defn- bars [value rows]
  (for [{:keys [server] :as row} rows
        :let [[label color] (servers server)]]
    {:label label, :color color, :value (value row)}))

;; Targets

(defn- limit-text [{[relation bound] :limit, unit :unit}]
  (str (relation {:at-most "≤ ", :at-least "≥ ", :less-than "< "})
       (if (float? bound) (formatted "%.2f" bound) (figure bound))
       unit))

(defn- reached-text [{reached :figure, [_ bound] :limit, unit :unit}]
  (when reached
    (str (if (float? bound) (formatted "%.3f" reached) (figure reached))
         unit)))

(defn- verdict-text [{:keys [verdict]}]
  (if verdict (name verdict) "not measured"))

(defn- reason-text [{:keys [id text]}]
  (str "- " text " :: " (reasons id "missed for a reason not yet known")))

(defn- group-text [[title judged]]
  (let [missed (filter #(= :missed (:verdict %)) judged)]
    (string/join
      "\n\n"
      (concat
        [(str title ":")
         (table [["target" :text]
                 ["demanded" limit-text]
                 ["reached" reached-text]
                 ["" verdict-text]]
                judged)]
        (when (seq missed)
          [(string/join "\n" (map reason-text missed))])))))

(defn- targets-text [groups]
  (string/join "\n\n" (map group-text groups)))

(defn- summary [groups]
  (let [verdicts (frequencies (map :verdict (mapcat second groups)))]
    (str (verdicts :met 0) " were met, " (verdicts :missed 0) " were missed, and "
         (verdicts nil 0) " were not measured")))

;; Load

(def ^:private socket-names (array-map :tcp "TCP", :unix "a Unix socket"))

(defn- load-rows [results workload socket]
  (->> (get-in results [:load :rows])
       (filter #(= [workload socket] ((juxt :workload :socket) %)))
       in-order))

(defn- workloads
  "Returns the workloads that were measured over a socket, without the one for round trips."
  [results socket]
  (->> (get-in results [:load :rows])
       (filter #(= socket (:socket %)))
       (map :workload)
       (remove #{:L8})
       distinct))

(def ^:private cpu-columns
  [["server" server-name]
   ["CPU µs/message" :cpu-micros]
   ["of libmilter" :to-libmilter]
   ["of null server" :to-null]
   ["messages/s" :messages-per-second]
   ["memory MiB" :resident-mib]])

(def ^:private idle-column ["KiB/idle connection" :idle-kib])

(defn- cpu-tables [results]
  (string/join
    "\n\n"
    (for [[socket socket-name] socket-names
          workload (workloads results socket)
          :let [rows (load-rows results workload socket)]]
      (str (name workload) " over " socket-name ":\n\n"
           (table (cond-> cpu-columns
                    (some (comp pos? :idle-kib) rows) (conj idle-column))
                  rows)))))

(def ^:private charted
  {:W1 "W1: a mail on each connection"
   :W2 "W2: a hundred mails on each connection"
   :W3 "W3: bodies of 10 MiB"
   :W4 "W4: 1,000 header fields"
   :W6 "W6: W1 beside 5,000 idle connections"
   :A500 "A500: 500 busy connections"})

(defn- cpu-chart [results socket]
  {:title (str "CPU time per message over " (socket-names socket) ", libmilter's being 1")
   :unit ""
   :groups (for [workload (filter charted (workloads results socket))]
             {:label (charted workload)
              :bars (bars :to-libmilter (load-rows results workload socket))})})

(defn- messages-chart [results]
  {:title "W1 over TCP: messages per second"
   :unit ""
   :groups [{:label "server and driver on one core"
             :bars (bars :messages-per-second (load-rows results :W1 :tcp))}]})

(defn- latency-table [results socket]
  (table [["server" server-name]
          ["median" (comp :p50 :latency-micros)]
          ["90 %" (comp :p90 :latency-micros)]
          ["99 %" (comp :p99 :latency-micros)]
          ["99.9 %" (comp :p999 :latency-micros)]]
         (load-rows results :L8 socket)))

(defn- latency-chart [results]
  (let [rows (load-rows results :L8 :unix)]
    {:title "L8 over a Unix socket: round trip of an event"
     :unit " µs"
     :groups [{:label "median", :bars (bars (comp :p50 :latency-micros) rows)}
              {:label "99th percentile", :bars (bars (comp :p99 :latency-micros) rows)}]}))

(def ^:private growths [:headers :recipients :macros :mebibytes :connections])

(defn- growth-rows [results over]
  (in-order (filter #(= over (:over %)) (get-in results [:load :linear]))))

(defn- growth-chart [results over]
  {:title (str "CPU time per event over the number of " (name over))
   :x (name over)
   :y "µs per event"
   :series (for [rows (partition-by :server (growth-rows results over))]
             (assoc (zipmap [:label :color] (servers (:server (first rows))))
                    :points (sort (map (juxt :count :cpu-micros) rows))))})

(defn- growth-table [results over]
  (let [rows (growth-rows results over)
        by-count (group-by :count rows)]
    (table (into [[(name over) key]]
                 (for [server (distinct (map :server rows))]
                   [(str (first (servers server)) ", µs")
                    (fn [[_ rows]] (:cpu-micros (targets/row rows {:server server})))]))
           (sort-by key by-count))))

;; Situations

(defn- slow-handler [{:keys [connections sleep-ms sleeps-per-second alone beside threads threads-alone]}]
  (let [millis (fn [round-trips percentile]
                 #(get-in round-trips [(key %) percentile]))]
    (string/join
      "\n"
      [(str connections " connections have a handler that sleeps for " sleep-ms " ms: "
            (figure sleeps-per-second) " sleeps a second.")
       "Milliseconds of a round trip on other connections, whose handlers answer at once:"
       ""
       (table [["their event" (comp {:same-event "the one that others sleep at"
                                     :other-event "another one"}
                                key)]
               ["alone: median" (millis alone :p50-ms)]
               ["99 %" (millis alone :p99-ms)]
               ["beside: median" (millis beside :p50-ms)]
               ["99 %" (millis beside :p99-ms)]
               ["longest" (millis beside :max-ms)]]
              beside)
       ""
       (str "The server has " threads-alone " threads alone, " threads " beside.")])))

(defn- pending [{:keys [connections pending-ms threads threads-without]}]
  (string/join
    "\n"
    [(str (figure connections) " connections have an event at once. If their handlers' values are")
     (str "pending for " pending-ms " ms, the server has at most " threads " threads.")
     (str "If they are there at once, it has " threads-without ".")]))

(defn- idle [rows]
  (table [["server" server-name]
          ["connections" :connections]
          ["KiB each: resident" :resident-kib]
          ["with free heap" :untrimmed-kib]
          ["Java objects" :objects-kib]
          ["still open" :open]
          ["mails served by a sample" :served]]
         rows))

(defn- cold-start [starts]
  (table [["start" (comp {:clojure-with-archive "bin/temse run, with archive"
                          :clojure-without-archive "bin/temse run, without"
                          :java "java ... SeenFilter"}
                         key)]
          ["first connection accepted, ms" (comp :accepted-ms val)]
          ["negotiated, ms" (comp :negotiated-ms val)]]
         starts))

(defn- way
  "Returns an MTA and the socket over which it asks a filter; no socket if it asks none."
  [{:keys [mta socket]}]
  (str (string/capitalize (name mta))
       (when (socket-names socket) (str " over " (socket-names socket)))))

(defn- by-way
  "Returns the rows of each way."
  [rows]
  (partition-by way (sort-by way (in-order rows))))

(defn- mtas-table [rows]
  (table [["MTA" way]
          ["filter" server-name]
          ["median ms" :median-ms]
          ["90 % ms" :p90-ms]]
         (mapcat identity (by-way rows))))

(defn- reply-gain
  "Returns, as a list, what an MTA gains if it waits for one reply per message."
  [rows]
  (let [gains (for [of-way (by-way rows)
                    :let [[before after] (map #(:median-ms (targets/row of-way {:server %}))
                                              [:clojure :message])]
                    :when (and before after)]
                (str "- " (way (first of-way)) ": " (figure after) " ms instead of "
                     (figure before) " ms"))]
    (if (seq gains)
      (string/join "\n" gains)
      not-measured)))

(defn- situations
  "Returns a text for each situation."
  [results]
  (into {}
        (for [[part situation text] [["slow-handler" :slow-handler slow-handler]
                                     ["pending" :pending pending]
                                     ["idle" :idle idle]
                                     ["cold-start" :cold-start cold-start]
                                     ["mtas" :mtas mtas-table]
                                     ["reply-gain" :mtas reply-gain]]
              :let [figures (get-in results [:situations situation])]]
          [part (if figures (text figures) not-measured)])))

(defn- mtas-chart [results]
  {:title "A mail through a real MTA: median of the time until it is accepted"
   :unit " ms"
   :groups (for [of-way (by-way (get-in results [:situations :mtas]))]
             {:label (way (first of-way))
              :bars (bars :median-ms of-way)})})

(defn- micro-table [results]
  (table [["benchmark" :benchmark] ["ns" :nanos] ["bytes allocated" :bytes]]
         (get-in results [:micro :rows])))

;; The page

(defn- charts
  "Returns the charts by the name of their file, nil where nothing was measured."
  [results]
  (merge
    {"cpu-tcp.svg" (chart/bars (cpu-chart results :tcp))
     "cpu-unix.svg" (chart/bars (cpu-chart results :unix))
     "messages.svg" (chart/bars (messages-chart results))
     "mtas.svg" (chart/bars (mtas-chart results))
     "round-trips.svg" (chart/bars (latency-chart results))}
    (into {} (for [over growths]
               [(str "growth-" (name over) ".svg") (chart/lines (growth-chart results over))]))))

(defn- link [file svg]
  (if svg (str "[[file:performance/" file "]]") not-measured))

(defn- absent-servers [results]
  (let [measured (set (map :server (get-in results [:load :rows])))
        absent (remove measured (keys (dissoc servers :none)))]
    (if (empty? absent)
      "All of them were measured in this run."
      (str "Not there in this run: " (string/join "; " (map (comp first servers) absent)) "."))))

(defn- parts [results judged charts]
  (merge
    (update-keys (select-keys results [:date :jdk :processor :cores :kernel]) name)
    (into {} (for [[file svg] charts] [file (link file svg)]))
    (situations results)
    {"summary" (summary judged)
     "targets" (targets-text judged)
     "absent-servers" (absent-servers results)
     "cpu-tables" (cpu-tables results)
     "round-trips-unix" (latency-table results :unix)
     "micro" (micro-table results)}
    (into {} (for [over growths] [(str "growth-" (name over)) (growth-table results over)]))))

(defn- filled [template parts]
  (string/replace template
                  #"\{\{(.+?)\}\}"
                  (fn [[_ part]]
                    (str (or (parts part) (throw (ex-info (str "no such part: " part) {})))))))

(def ^:private chart-directory "doc/performance")

(defn- write-page [results judged]
  (let [charts (charts results)]
    (run! io/delete-file (.listFiles (io/file chart-directory)))
    (doseq [[file svg] charts
            :when svg]
      (io/make-parents chart-directory file)
      (spit (io/file chart-directory file) svg))
    (spit "doc/performance.org"
          (filled (slurp (io/resource "temse/bench/page.org")) (parts results judged charts)))))

(defn- measured [judged]
  (for [[title targets] judged
        :let [measured (filter :verdict targets)]
        :when (seq measured)]
    [title measured]))

(defn -main
  "Writes the results and, in mode `all`, the page. Prints the targets that were measured, and the
  :id of those that were missed for a reason that is not in `reasons`."
  [mode]
  (let [results (results/joined (keyword mode))
        judged (targets/judged results)]
    (results/write results)
    (when (= "all" mode)
      (write-page results judged))
    (println (str (targets-text (measured judged)) "\n\nOf the targets " (summary judged) "."))
    (doseq [{:keys [id verdict]} (mapcat second judged)
            :when (and (= :missed verdict) (not (reasons id)))]
      (println "no reason is given for" id))))
