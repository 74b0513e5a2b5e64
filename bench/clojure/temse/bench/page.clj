(ns temse.bench.page
  "Writes doc/performance.org with its charts: the targets beside what the newest results of each JDK
  reach, and the details of JDK 17."
  (:require
   [clojure.java.io :as io]
   [clojure.string :as string]
   [temse.bench.chart :as chart]
   [temse.bench.results :as results :refer [row]]
   [temse.bench.targets :as targets]
   [temse.bench.text :as text :refer [figure formatted]]))

(set! *warn-on-reflection* true)

(def ^:private reasons
  "Why a target may be missed, by its :id, which may lack the API at its end."
  (let [events "half a microsecond for each event: it becomes a map, and its handler gets a call of its own, so that one
  that is kept for too long can harm no other message"
        events-in-clojure "one to two microseconds for each event: the same, and a context, which is a persistent map; and log lines,
  which the null server does not write"
        fields "each header field becomes an object that the filter may keep; the null server only looks for the ends of packets"
        pieces "each piece of a body becomes an array that belongs to the handler; on machines with slow memory that is dear"]
    {[:cpu :null :W1 :java] events
     [:cpu :null :W1 :clojure] events-in-clojure
     [:cpu :null :W2 :java] events
     [:cpu :null :W2 :clojure] events-in-clojure
     [:cpu :null :W3] pieces
     [:cpu :null :W4] fields
     [:cpu :null :A500] "a connection has more state than in the null server, and that of 500 does not stay in the caches"
     [:cpu :silent-null :W1 :whole] "log lines, which the null server does not write"
     [:cpu :silent-null :W2 :whole-java] "the null server takes 3 µs for all the packets of a message"
     [:cpu :silent-null :W2 :whole] "the null server takes 3 µs for all the packets of a message, and writes no log line"
     [:cpu :silent-null :W4] fields
     [:cpu :libmilter :W1r] "at a hundred messages a second wake-ups cost most, for the null server too, and what runs seldom is compiled late"
     [:cpu :libmilter :W3] pieces
     [:cpu :libmilter :W7] "the null server takes nearly as much: there are no events, only connections, which the system makes"
     [:growth :connections] "the null server's events grow dearer by a factor of nearly three, too: what the system keeps of thousands of
  sockets does not stay in the caches"
     [:start :java] "the JVM itself starts in a third of that"
     [:start :clojure] "a JVM that loads clojure.core and nothing else needs two thirds of the demanded time already"
     [:memory :at-rest :java] "what JDK 25 takes for the same differs from run to run by more than is missing"
     [:memory :at-rest :clojure] "a JVM that has loaded clojure.core and nothing else takes 66 MiB"
     [:memory :under-load :clojure] "the same; and what the JVM's compiler gives back stays with the C library (doc/operations.org)"
     [:allocation] "the call of its own for each event, and the map of the event"}))

(defn- reason
  [id]
  (or (reasons id) (reasons (pop id))))

(def ^:private jdks (array-map :jdk17 "JDK 17", :jdk25 "JDK 25"))

(def ^:private servers
  "The servers in the order in which they are shown: name and colour."
  (array-map :libmilter ["libmilter, C" "#57606a"]
             :null ["null server" "#afb8c1"]
             :java ["temse, Java" "#0072b2"]
             :clojure ["temse, Clojure" "#009e73"]
             :silent-null ["silent null server" "#d0d7de"]
             :whole-java ["temse, Java, whole messages" "#56b4e9"]
             :whole ["temse, Clojure, whole messages" "#d55e00"]
             :jmilter ["jmilter, Java" "#8250df"]
             :pymilter ["pymilter, Python" "#a0522d"]))

(defn- server-name [server]
  (first (servers server)))

;; Targets

(defn- limit-text [{:keys [limit unit]}]
  (str "≤ " (if (float? limit) (formatted "%.2f" limit) (figure limit)) unit))

(defn- reached-text [{:keys [unit verdict] reached :figure}]
  (if reached
    (str (figure reached) unit (when (= :missed verdict) ", missed"))
    "not measured"))

(defn- reason-text [{:keys [id text]}]
  (str "- " text " :: " (or (reason id) "missed for a reason not yet known")))

(defn targets-text
  "Returns a table of each group of targets, with a column for each JDK whose judged targets are given, by
  the title of the column."
  [judged]
  (string/join
    "\n\n"
    (for [groups (apply map vector (vals judged))
          :let [by-id (map #(zipmap (map :id (second %)) (second %)) groups)
                [title targets] (first groups)
                missed (filter (fn [{:keys [id]}] (some #(= :missed (:verdict (% id))) by-id)) targets)]]
      (string/join
        "\n\n"
        (remove empty?
                [(str title ":")
                 (text/table (into [["target" :text] ["demanded" limit-text]]
                                   (map (fn [column of-jdk] [column #(reached-text (of-jdk (:id %)))])
                                        (keys judged)
                                        by-id))
                             targets)
                 (string/join "\n" (map reason-text missed))])))))

(defn summary
  "Returns how many of the judged targets were met."
  [groups]
  (let [verdicts (frequencies (map :verdict (mapcat second groups)))]
    (str (verdicts :met 0) " met, " (verdicts :missed 0) " missed, " (verdicts nil 0) " not measured")))

(defn without-reason
  "Returns the ids of missed targets for which no reason is given."
  [groups]
  (for [{:keys [id verdict]} (mapcat second groups)
        :when (and (= :missed verdict) (not (reason id)))]
    id))

;; Details

(def ^:private described
  (array-map :W1 "W1: a message on each connection"
             :W2 "W2: a hundred messages on each connection"
             :W3 "W3: bodies of 10 MiB"
             :W4 "W4: 1,000 header fields"
             :A500 "A500: 500 busy connections"))

(defn- load-row [{:keys [rows]} workload socket server]
  (row rows {:workload workload, :socket socket, :server server}))

(defn- cpu-chart [results]
  (chart/bars
    {:title "CPU time per message over TCP, libmilter's being 1"
     :unit ""
     :groups (for [[workload label] described]
               {:label label
                :bars (for [[server [label color]] servers
                            :let [measured (load-row results workload :tcp server)]
                            :when measured]
                        {:label label
                         :color color
                         :value (results/ratio measured (load-row results workload :tcp :libmilter))})})}))

(defn- cpu-table [{:keys [rows] :as results} socket]
  (let [measured (filter #(= socket (:socket %)) rows)]
    (text/table
      (concat [["µs per message" server-name]]
              (for [workload (distinct (map :workload measured))
                    :when (not= :L8 workload)]
                [(name workload) #(:cpu-micros (load-row results workload socket %))])
              [["W1, messages/s" #(:messages-per-second (load-row results :W1 socket %))]])
      (filter (set (map :server measured)) (keys servers)))))

(defn- round-trips [results]
  (text/table [["µs" server-name]
               ["median" #(:p50 (load-row results :L8 :unix %))]
               ["99 %" #(:p99 (load-row results :L8 :unix %))]]
              (filter #(load-row results :L8 :unix %) (keys servers))))

(defn- growth-chart [{:keys [growth]}]
  (chart/panels
    {:title "CPU time per event as a quantity grows, in µs"
     :x "quantity"
     :log? true
     :panels (for [of-one (partition-by :over growth)]
               {:title (name (:over (first of-one)))
                :series (for [[server [label color]] servers
                              :let [points (for [{:keys [count cpu-micros] :as point} of-one
                                                 :when (= server (:server point))]
                                             [count cpu-micros])]
                              :when (seq points)]
                          {:label label, :color color, :points points})})}))

(defn- memory-table [{:keys [memory]}]
  (text/table [["MiB" (comp server-name key)]
               ["at rest" (comp :at-rest-mib val)]
               ["under W1" (comp :under-load-mib val)]]
              memory))

(defn- mtas-table [{:keys [mtas]}]
  (text/table (into [["ms" (fn [[mta socket]]
                             (str (string/capitalize (name mta)) " over "
                                  ({:tcp "TCP", :unix "a Unix socket"} socket)))]]
                    (for [server [:libmilter :java :clojure]]
                      [(server-name server)
                       (fn [[mta socket]]
                         (:median-ms (row mtas {:mta mta, :socket socket, :server server})))]))
              (for [mta (distinct (map :mta mtas)), socket [:tcp :unix]] [mta socket])))

(defn- absent [{:keys [rows]}]
  (let [measured (set (map :server rows))]
    (if-let [missing (seq (remove measured (keys servers)))]
      (str "Not on this machine: " (string/join "; " (map server-name missing)) ".")
      "")))

;; The page

(def ^:private charts {"cpu.svg" cpu-chart, "growth.svg" growth-chart})

(defn- parts [measured]
  (let [{:keys [jdk17] :as by-jdk} (into {} (filter val) measured)
        details (or jdk17 (val (first by-jdk)))
        judged (update-vals by-jdk targets/judged)
        titled #(update-keys % jdks)]
    (into (update-keys (select-keys details [:date :processor :cores :kernel :jdk]) name)
          {"files" (string/join ", " (for [[jdk {:keys [file]}] by-jdk]
                                       (str "[[file:../bench/results/" file "][" (jdks jdk) "]]")))
           "summary" (string/join "; " (for [[jdk groups] judged] (str (jdks jdk) ": " (summary groups))))
           "targets" (targets-text (titled judged))
           "absent" (absent details)
           "cpu-tcp" (cpu-table details :tcp)
           "cpu-unix" (cpu-table details :unix)
           "round-trips" (round-trips details)
           "memory" (memory-table details)
           "mtas" (mtas-table details)
           "charts" (update-vals charts #(% details))})))

(defn- filled [template parts]
  (string/replace template
                  #"\{\{(.+?)\}\}"
                  (fn [[_ part]]
                    (str (or (parts part) (throw (ex-info (str "no such part: " part) {})))))))

(defn write
  "Writes the page of the newest results."
  []
  (let [directory "doc/performance"
        parts (parts (into (array-map) (for [jdk (keys jdks)] [jdk (results/latest jdk)])))]
    (run! io/delete-file (.listFiles (io/file directory)))
    (doseq [[file svg] (parts "charts")]
      (spit (io/file directory file) svg))
    (spit "doc/performance.org" (filled (slurp (io/resource "temse/bench/page.org")) parts))))
