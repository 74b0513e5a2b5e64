(ns temse.soak
  "Sends mixed traffic to a server for a long time, checks every reply, and says whether what the server takes
  stays the same: `bin/soak`."
  (:require
   [clojure.java.io :as io]
   [temse.impl.command.arguments :as arguments]
   [temse.soak.page :as page]
   [temse.soak.traffic :as traffic]
   [temse.soak.watched :as watched])
  (:import
   (java.nio.file Path)
   (java.util.concurrent Executors Future ScheduledExecutorService TimeUnit)
   (java.util.concurrent.atomic AtomicLong)
   (java.util.concurrent.locks LockSupport)
   (org.HdrHistogram Histogram Recorder)))

(set! *warn-on-reflection* true)

(defn- minutes
  [option text]
  (let [n (when (re-matches #"\d{1,5}(\.\d{1,3})?" text) (parse-double text))]
    (if (and n (pos? (double n)))
      n
      (arguments/fail option " needs a number such as 120 or 0.5, not " (pr-str text)))))

(defn- file
  "Takes the path of a file, relative to where bin/soak was called."
  [_ text]
  (str (.resolve (Path/of (System/getProperty "soak.start" "") (make-array String 0)) ^String text)))

(def command
  "See temse.impl.command.arguments."
  {:usage ["bin/soak MINUTES [OPTIONS]"]
   :about ["Sends mixed traffic to a server in a process of its own for so many minutes,"
           "checks each reply, watches what the server takes, and draws it as an SVG."
           ""
           "The second half must be flat, by the rule of bench/clojure/temse/soak/verdict.clj;"
           "less than ten minutes are not judged. In the end nothing may be left over."]
   :options [["--rate N" "connections a second (default: 20)" (arguments/whole-number 1 10000)]
             ["--workers N" "connections at once, at most (default: 8)" (arguments/whole-number 1 1000)]
             ["--seed N" "of what is sent (default: 1)" (arguments/whole-number 0 1000000000)]
             ["--reload SECONDS" "between two reloads of the filters (default: 20)" (arguments/whole-number 1 100000)]
             ["--svg FILE" "the picture (default: target/soak/soak.svg)" file]
             ["--directory DIR" "for logs, samples and temporary files (default: target/soak)" file]]
   :exit "0 if nothing is wrong, 1 if something is, 2 after an error."})

(def ^:private defaults
  {:rate 20, :workers 8, :seed 1, :reload 20, :svg "target/soak/soak.svg", :directory "target/soak"})

;; ---- failures

(defn- fail
  "Keeps what went wrong, and writes it to a file."
  [{:keys [failures directory]} text]
  (swap! failures conj text)
  (locking failures
    (spit (io/file directory "failures.txt") (str text "\n") :append true)))

;; ---- traffic

(defn- park-until
  [nanos]
  (loop []
    (let [left (- (long nanos) (System/nanoTime))]
      (when (pos? left)
        (LockSupport/parkNanos left)
        (recur)))))

(defn- failure-text
  [n e]
  (str "connection " n ": " (ex-message e) (when-let [data (ex-data e)] (str " " (pr-str data)))))

(defn- work
  "Does what is due, one connection after the other, until the time is over."
  [{:keys [addresses seed rate start end ^AtomicLong connections ^AtomicLong mails record over?] :as state}]
  (loop []
    (let [n (.getAndIncrement connections)
          due (+ (long start) (long (/ (* n 1e9) (long rate))))]
      (if (or (< (long end) (max due (System/nanoTime))) @over?)
        (.decrementAndGet connections)
        (do
          (park-until due)
          (try
            (.addAndGet mails (long (traffic/run (traffic/connection addresses seed n) record)))
            (catch Exception e
              (fail state (failure-text n e))))
          (recur))))))

;; ---- samples

(defn- percentile
  "Returns a percentile in milliseconds, nil if nothing was recorded."
  [^Histogram histogram percent]
  (when (pos? (.getTotalCount histogram))
    (/ (.getValueAtPercentile histogram (double percent)) 1e6)))

(defn- sample
  "Returns what is seen now and since the sample before, which ended at `before`."
  [{:keys [server start recorders ^AtomicLong mails]} before]
  (let [now (System/nanoTime)
        total (.get mails)
        {:keys [events whole]} (update-vals recorders #(.getIntervalHistogram ^Recorder %))]
    (merge (watched/reading server)
           {:minutes (/ (- now (long start)) 6e10)
            :at now
            :total total
            :mails (/ (- total (long (:total before))) (/ (- now (long (:at before))) 1e9))
            :events-p50 (percentile events 50)
            :events-p99 (percentile events 99)
            :whole-p50 (percentile whole 50)
            :whole-p99 (percentile whole 99)})))

(defn- result
  [{:keys [start seed samples failures left reloads ^AtomicLong connections ^AtomicLong mails]}]
  {:minutes (/ (- (System/nanoTime) (long start)) 6e10)
   :seed seed
   :samples @samples
   :mails (.get mails)
   :connections (.get connections)
   :reloads @reloads
   :failures @failures
   :left @left})

(defn- write-svg
  [svg result]
  (when-let [text (page/svg result)]
    (io/make-parents svg)
    (spit svg text)))

(defn- take-sample
  [{:keys [samples directory svg server start over?] :as state}]
  (if (.isAlive ^Process (:process server))
    (let [taken (sample state (or (peek @samples) {:at start, :total 0}))]
      (swap! samples conj taken)
      (spit (io/file directory "samples.edn") (str (pr-str taken) "\n") :append true)
      (write-svg svg (assoc (result state) :running? true)))
    (reset! over? true)))

;; ---- the end

(def ^:private at-rest
  "Numbers of the server that must be zero when nobody is there any more, and what they count."
  {[:temse_connections] "connections"
   [:temse_pending_values] "pending values"
   [:temse_spilled_bodies] "bodies in files"
   [:temse_spilled_bytes] "bytes in files"})

(def ^:private never
  "What must not have happened, and what it is."
  {[:temse_listener_failures_total] "failures of listeners"
   [:temse_stalls_total] "loops held up"
   [:temse_starved_total] "connections without a thread"
   [:temse_dropped_reports_total] "reports dropped"})

(defn- not-zero
  [counters what]
  (for [[metric words] what
        :let [n (get counters metric 0.0)]
        :when (pos? (double n))]
    (str (long n) " " words)))

(defn- left-over
  "Returns what a server still holds a while after the last mail, as texts."
  [server]
  (loop [patience 300]
    (let [left (concat (not-zero (watched/counters server) at-rest)
                       (let [files (:files (watched/reading server))]
                         (when (pos? (long files))
                           [(str files " temporary files")])))]
      (if (or (empty? left) (zero? patience))
        left
        (do (Thread/sleep 100)
            (recur (dec patience)))))))

(defn- wrong-in-the-end
  [{:keys [server] :as state}]
  (if (.isAlive ^Process (:process server))
    (concat (map #(str % " left over") (left-over server))
            (not-zero (watched/counters server) never)
            (when (zero? (long @(:reloads state)))
              ["the filters were not loaded again"]))
    ["the server has ended"]))

;; ---- a soak

(def ^:private samples-of-a-soak 360)

(defn- repeatedly-after
  "Calls f every so many milliseconds until the executor ends. What it throws is a failure."
  [^ScheduledExecutorService executor millis state f]
  (.scheduleAtFixedRate executor
                        #(try
                           (f)
                           (catch Exception e
                             (fail state (str "the watcher: " e))))
                        (long millis) (long millis) TimeUnit/MILLISECONDS))

(defn- soaked
  "Sends mixed traffic to a server, and returns what was seen."
  [server {:keys [minutes rate seed workers reload directory svg]}]
  (let [recorders {:events (Recorder. 3), :whole (Recorder. 3)}
        start (System/nanoTime)
        state {:server server
               :addresses (:addresses server)
               :seed seed
               :rate rate
               :start start
               :end (+ start (long (* (double minutes) 6e10)))
               :directory directory
               :svg svg
               :connections (AtomicLong.)
               :mails (AtomicLong.)
               :failures (atom [])
               :left (atom nil)
               :reloads (atom 0)
               :over? (atom false)
               :samples (atom [])
               :recorders recorders
               :record (fn [filter nanos]
                         (when-let [^Recorder recorder (recorders filter)]
                           (.recordValue recorder (long nanos))))}
        watcher (Executors/newScheduledThreadPool 2)
        threads (Executors/newFixedThreadPool (int workers))]
    (try
      (let [working (mapv (fn [_] (.submit threads ^Callable #(work state))) (range workers))]
        (repeatedly-after watcher
                          (max 1000 (/ (* (double minutes) 60000) samples-of-a-soak))
                          state
                          #(take-sample state))
        (repeatedly-after watcher
                          (* 1000 (long reload))
                          state
                          (fn []
                            (watched/reload server)
                            (swap! (:reloads state) inc)))
        (run! #(.get ^Future %) working))
      (finally
        (.shutdown watcher)
        (.awaitTermination watcher 60 TimeUnit/SECONDS)
        (.shutdownNow threads)))
    (reset! (:left state) (doall (wrong-in-the-end state)))
    (let [result (result state)]
      (write-svg svg result)
      result)))

(defn- soak
  [{:keys [words] :as given}]
  (when-not (= 1 (count words))
    (arguments/misused command "say for how many minutes"))
  (let [{:keys [directory svg] :as options} (merge defaults given {:minutes (minutes "MINUTES" (first words))})]
    (doseq [left ["samples.edn" "failures.txt"]]
      (io/delete-file (io/file directory left) true))
    (io/make-parents (io/file directory "samples.edn"))
    (with-open [server ^java.io.Closeable (watched/start directory)]
      (let [result (soaked server options)]
        (run! println (page/lines result))
        (println (str "picture: " svg))
        (if (seq (page/wrong result)) arguments/refused 0)))))

(defn -main
  "Runs the command, and ends the process with its exit code."
  [& args]
  (System/exit
    (try
      (arguments/run command args soak)
      (catch Exception e
        (if-let [code (:temse.cli/exit (ex-data e))]
          (binding [*out* *err*]
            (println (str "soak: " (ex-message e)))
            code)
          (throw e))))))
