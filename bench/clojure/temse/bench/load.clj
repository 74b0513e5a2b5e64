(ns temse.bench.load
  "Plays workloads to servers in alternating rounds and takes the medians."
  (:require
   [clojure.string :as string]
   [temse.bench.results :refer [median ratio]]
   [temse.bench.servers :as servers]
   [temse.bench.text :as text]
   [temse.test :as mt])
  (:import
   (com.sun.management UnixOperatingSystemMXBean)
   (java.io Closeable)
   (java.lang AutoCloseable ProcessHandle)
   (java.lang.management ManagementFactory)
   (temse.bench CpuClock LoadDriver Sample Workload)))

(set! *warn-on-reflection* true)

(def ^:private mebibyte (* 1024 1024))

;; Workloads: what differs from a mail of 2 recipients, 12 header fields and 8 KiB on each connection

(def ^:private workloads
  {:W1 {:connections 8}
   :W1r {:connections 0, :mails-per-second 100}
   :W2 {:connections 4, :mails 100}
   :W3 {:connections 4, :bytes (* 10 mebibyte), :octets-per-write (* 24 1024)}
   :W4 {:connections 8, :headers 1000, :bytes 0}
   :W6 {:connections 8, :idle 5000}
   :W7 {:connections 8, :recipients 0}
   :W8 {:connections 8, :slow 200}
   :A500 {:connections 500, :mails 0}
   :L8 {:connections 8, :mails 0, :events-per-second 1000}})

(def ^:private growing
  "By what grows: the counts, and the small mail with so many."
  (let [small {:connections 1, :mails 0, :recipients 1, :headers 1, :bytes 0}]
    {:headers [[1 10 100 1000 10000] #(assoc small :headers %)]
     :recipients [[1 10 100 1000 10000] #(assoc small :recipients %)]
     :macros [[1 10 100 1000] #(assoc small :macros %)]
     :mebibytes [[1 4 16 64 256 1024] #(assoc small :bytes (* % mebibyte))]
     :connections [[1 10 100 1000 10000 20000] #(assoc small :connections %)]}))

(defn- workload
  ^Workload [{:keys [connections mails recipients headers macros bytes idle slow octets-per-write
                     mails-per-second events-per-second]
              :or {mails 1, recipients 2, headers 12, macros 0, bytes 8192, idle 0, slow 0
                   octets-per-write Integer/MAX_VALUE, mails-per-second 0, events-per-second 0}}]
  (Workload. connections mails recipients headers macros bytes idle slow octets-per-write
             mails-per-second events-per-second))

;; Servers

(def ^:private silent #{:silent-null :whole-java :whole})
(def ^:private peers #{:jmilter :pymilter})
(def ^:private compiled #{:libmilter :pymilter})

(defn- from-before
  "Returns the name of a filter in the other checkout."
  [server]
  (keyword (str (name server) "-before")))

(defn- floor
  "Returns the name of the null server that replies as often as this server."
  [server]
  (if (some #{server} (into silent (map from-before) silent)) :silent-null :null))

(defn- takes-part? [workload {:keys [server socket]}]
  (cond
    (= :silent-null (floor server)) (#{:W1 :W2 :W4} workload)
    (peers server) (and (= :tcp socket) (#{:W1 :W2 :W3 :W4} workload))
    :else true))

(defn- with-servers
  "Returns what f returns of running servers. `commands` is their command lines by name."
  [socket commands f]
  (let [running (atom [])]
    (try
      (doseq [[server command] commands]
        (swap! running conj (assoc (servers/start server socket command) :socket socket)))
      (f @running)
      (finally
        (run! #(.close ^Closeable %) @running)))))

(defn- chosen [names]
  (let [commands (servers/commands)]
    (for [server names
          :when (commands server)]
      [server (commands server)])))

;; Runs

(def ^:private all-cores (str "0-" (dec (.availableProcessors (Runtime/getRuntime)))))

(defn- bind
  "Has driver and servers share a core. At a steady rate of mails they are not bound; where events
  have their times, the driver has the other cores for itself."
  [{:keys [mails-per-second events-per-second]} servers]
  (let [[own theirs] (cond
                       mails-per-second [all-cores all-cores]
                       events-per-second [(if (= "0-0" all-cores) "0" (str "1" (subs all-cores 1))) "0"]
                       :else ["0" "0"])]
    (servers/bind (.pid (ProcessHandle/current)) own)
    (run! #(servers/bind (servers/pid %) theirs) servers)))

(defn- unbind [servers]
  (bind {:mails-per-second 1} servers))

(def ^:private clock (delay (CpuClock. (str servers/work "/cpu_clock"))))

(defn- run
  "Plays a workload until the server has used so many seconds of CPU time or so many have passed."
  [server settings [cpu-seconds seconds]]
  (let [^Sample sample (with-open [driver (LoadDriver. (workload settings) (servers/socket-address server)
                                                       (servers/pid server) @clock cpu-seconds seconds)]
                         (.run driver))
        micros (/ (.cpuNanos sample) 1e3)
        latency (.latency sample)]
    {:cpu-micros (/ micros (.messages sample))
     :event-micros (/ micros (.events sample))
     :messages-per-second (/ (.messages sample) (.nanos sample) 1e-9)
     :p50 (.micros latency 0.5)
     :p99 (.micros latency 0.99)}))

;; Lengths: the warm-up of new servers, and of each workload a run of the warm-up and a measured one
(def ^:private warm-up [14 20])
(def ^:private usual {:warm-up [0.3 1], :measured [0.15 0.5]})
(def ^:private steady {:warm-up [1 1], :measured [1 1]})
(def ^:private of-growth {:warm-up [0.1 0.2], :measured [0.1 0.4]})

(defn- jit? [{:keys [server]}]
  (not (compiled server)))

(defn- warm
  "Has JVMs compile what matters."
  [servers settings duration]
  (doseq [server servers
          :when (jit? server)]
    (run server settings duration)))

(defn- settle
  "Plays a workload to JVMs until it costs no less, twice in turn."
  [servers settings duration]
  (doseq [server servers
          :when (jit? server)]
    (loop [least (:cpu-micros (run server settings duration))
           calm 0
           left 14]
      (when (and (< calm 2) (pos? left))
        (let [cost (:cpu-micros (run server settings duration))]
          (recur (min least cost) (if (< cost (* 0.95 least)) 0 (inc calm)) (dec left)))))))

(defn- alternating
  "Returns pairs of a server and its runs, after a further warm-up. Peers take part in three rounds at most."
  [servers settings {:keys [warm-up measured]} rounds]
  (bind settings servers)
  (settle servers (dissoc settings :idle :slow) warm-up)
  (let [runs (for [round (range rounds)
                   server servers
                   :when (or (< round 3) (not (peers (:server server))))]
               [server (run server settings measured)])
        by-server (group-by first (doall runs))]
    (unbind servers)
    (for [server servers]
      [server (map second (by-server server))])))

(defn- rows
  "Measures a workload and returns a row for each server, which it prints as well:

    {:workload :W1 :socket :tcp :server :java
     :cpu-micros 245.1 :rounds [244.0 …]     ; for each message: the median, and all rounds
     :messages-per-second 2057 :resident-mib 93.1 :p50 53.2 :p99 188.1}"
  [workload rounds servers]
  (let [{:keys [mails-per-second events-per-second] :as settings} (workloads workload)
        taking-part (filter #(takes-part? workload %) servers)
        lengths (if (or mails-per-second events-per-second) steady usual)
        rows (vec (for [[{:keys [server socket] :as running} runs]
                        (alternating taking-part settings lengths rounds)
                        :let [of-all #(median (map % runs))]]
                    (array-map :workload workload
                               :socket socket
                               :server server
                               :cpu-micros (of-all :cpu-micros)
                               :rounds (mapv :cpu-micros runs)
                               :messages-per-second (of-all :messages-per-second)
                               :resident-mib (/ (servers/resident-kib running) 1024.0)
                               :p50 (of-all :p50)
                               :p99 (of-all :p99))))
        beside (fn [peer]
                 (fn [{:keys [server] :as row}]
                   (ratio row (some #(when (= (peer server) (:server %)) %) rows))))]
    (println (str "\n"
                  (text/table [[(name workload) (comp name :server)]
                               ["CPU µs" :cpu-micros]
                               ["/libmilter" (beside (constantly :libmilter))]
                               ["/null" (beside floor)]
                               ["/before" (beside from-before)]
                               ["messages/s" :messages-per-second]
                               ["p99 µs" :p99]
                               ["MiB" :resident-mib]]
                              rows)))
    rows))

(def ^:private most-connections
  "As many as this process may have, and each server, beside their other files."
  (- (.getMaxFileDescriptorCount ^UnixOperatingSystemMXBean (ManagementFactory/getOperatingSystemMXBean)) 200))

(defn- fits?
  "Says whether so much of something can be measured. Beyond 1,000 connections libmilter, which polls all of
  them, would take minutes."
  [over n {:keys [server]}]
  (or (not= :connections over)
      (<= n (if (= :libmilter server) 1000 most-connections))))

(defn- grown
  "Returns how the cost of an event grows."
  [servers]
  (vec (for [[over [counts settings]] growing
             n counts
             [{:keys [server]} runs]
             (alternating (filter #(fits? over n %) servers) (settings n) of-growth 3)]
         (array-map :server server, :over over, :count n, :cpu-micros (median (map :event-micros runs))))))

(def ^:private rounds 5)

(defn measure
  "Returns {:rows [{…}] :growth [{:server :java :over :headers :count 10 :cpu-micros 6.7}]}, the cost for each event."
  []
  (let [over-tcp (with-servers :tcp
                   (chosen [:libmilter :null :java :clojure :silent-null :whole-java :whole :jmilter :pymilter])
                   (fn [servers]
                     (warm servers (:W1 workloads) warm-up)
                     (into [] (mapcat #(rows % rounds servers)) [:W1 :W2 :W3 :W4 :W6 :W7 :W8 :A500 :W1r])))]
    (with-servers :unix
      (chosen [:libmilter :null :java :clojure])
      (fn [servers]
        (warm servers (:W1 workloads) warm-up)
        {:rows (into over-tcp (mapcat #(rows % rounds servers)) [:W1 :L8])
         :growth (grown servers)}))))

(defn measure-quickly
  "Returns {:rows [{…}]} of few servers and workloads."
  []
  (with-servers :tcp
    (chosen [:libmilter :null :java :clojure])
    (fn [servers]
      (warm servers (:W1 workloads) warm-up)
      {:rows (into [] (mapcat #(rows % 3 servers)) [:W1 :W2 :W4])})))

(defn compare-filters
  "Prints what filters need beside those of another checkout, or beside the null server only."
  [filters measured root]
  (doseq [[names known] [[filters (servers/filters ".")] [measured workloads]]
          unknown (remove known names)]
    (throw (ex-info (str "there is no " (name unknown) "; there are " (string/join ", " (map name (keys known)))) {})))
  (let [before (when root
                 (update-keys (select-keys (servers/filters root) filters) from-before))]
    (with-servers :tcp
      (concat (chosen (concat (distinct (map floor filters)) filters)) before)
      (fn [servers]
        (warm servers (:W1 workloads) warm-up)
        (run! #(rows % 11 servers) measured)))))

(defn memory
  "Returns the resident memory of servers some seconds after their first negotiation, and under load:
  {:java {:at-rest-mib 51.3 :under-load-mib 87.2} …}."
  []
  (into {}
        (for [name [:libmilter :java :clojure]]
          (with-open [server (servers/start name :tcp)]
            (let [mebibytes #(/ (servers/resident-kib server) 1024.0)
                  _ (.close ^AutoCloseable (mt/connect-to (:address server)))
                  _ (Thread/sleep 5000)
                  at-rest (mebibytes)]
              (run server (:W1 workloads) warm-up)
              [name {:at-rest-mib at-rest, :under-load-mib (mebibytes)}])))))

(defn start
  "Returns the median time, in milliseconds, until a started server accepts a connection: {:java 108.1 …}."
  []
  (let [commands {:java (servers/java-with-archive), :clojure (:clojure (servers/filters "."))}
        start-once (fn [server]
                     (let [start (System/nanoTime)]
                       (with-open [_ (servers/start server :tcp (commands server))]
                         (/ (- (System/nanoTime) start) 1e6))))
        rounds (rest (doall (repeatedly 6 (fn [] {:java (start-once :java), :clojure (start-once :clojure)}))))]
    {:java (median (map :java rounds)), :clojure (median (map :clojure rounds))}))
