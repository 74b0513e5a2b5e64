(ns temse.impl.command.console
  "Lines for people at a terminal: what commands print while they serve mail, and log lines where
  nobody has configured java.util.logging.

  stdout and stderr have a queue each and a thread that writes it, so that a terminal that takes
  nothing holds up neither mail nor the other stream. Lines that find the queue full are dropped and
  counted."
  {:no-doc true}
  (:require
   [clojure.string :as string]
   [temse.impl.command.terminal :as terminal])
  (:import
   (java.io BufferedOutputStream FileDescriptor FileOutputStream IOException OutputStream)
   (java.nio.charset Charset)
   (java.time Instant ZoneId)
   (java.time.format DateTimeFormatter)
   (java.util.concurrent CountDownLatch Semaphore TimeUnit)
   (java.util.logging Handler Level LogManager LogRecord Logger SimpleFormatter)
   (temse.logging JsonFormatter)
   (temse.logging.internal StackTraces)
   (temse.protocol Printable)))

(set! *warn-on-reflection* true)

;; ---- queues

(def ^:private gather-millis
  "How long lines are gathered, since a write for each would cost more than the mail it reports."
  100)

(def ^:private flush-millis 2000)

(def ^:private longest-line 4000)

(def ^:private most
  "What may wait to be written; problems find room when other lines find none."
  {:line {:lines 10000, :characters 4194304}
   :problem {:lines 12000, :characters 5242880}})

(def ^:private nothing
  "A queue in which nothing waits."
  {:lines [], :characters 0, :dropped 0, :latches []})

(defn- queued
  "Returns the queue with a line in it, or with one more dropped if the kind of line finds no room."
  [{:keys [lines characters] :as queue} ^String line kind]
  (let [limits (most kind)
        characters (+ (long characters) (.length line))]
    (if (and (< (count lines) (long (:lines limits))) (<= characters (long (:characters limits))))
      (assoc queue :lines (conj lines line), :characters characters)
      (update queue :dropped inc))))

(defonce ^:private ^{:doc "The formatter of log lines where they are JSON, else nil."} json (atom nil))

(defn- json-text
  "Returns a record as it is written where lines are JSON."
  [^JsonFormatter formatter ^LogRecord record]
  (string/trim-newline (.format formatter record)))

(defn- note
  "Returns a line of this namespace's own."
  [& words]
  (let [text (string/join words)]
    (if-let [formatter @json]
      (json-text formatter (doto (LogRecord. Level/WARNING text)
                             (.setLoggerName "temse")))
      (str "temse: " text))))

(defn- texts
  "Returns the lines of a queue, at last how many were dropped behind them."
  [{:keys [lines dropped]}]
  (cond-> lines
    (pos? (long dropped))
    (conj (note dropped (if (= 1 dropped) " line" " lines")
                " dropped here, since the output was not read"))))

(def ^:private ^Charset charset
  (Charset/forName (System/getProperty "native.encoding" "UTF-8")))

(defn- write
  "Writes lines; what a closed stream does not take is lost."
  [^OutputStream stream lines]
  (try
    (let [out (BufferedOutputStream. stream)]
      (doseq [line lines]
        (.write out (.getBytes (str line "\n") charset)))
      (.flush out))
    (catch IOException _)))

(defn- write-forever
  [stream queue ^Semaphore due]
  (while true
    (try
      (.acquire due)
      (.tryAcquire due (long gather-millis) TimeUnit/MILLISECONDS)
      (.drainPermits due)
      (let [[{:keys [latches] :as taken}] (reset-vals! queue nothing)]
        (write stream (texts taken))
        (run! #(.countDown ^CountDownLatch %) latches))
      (catch Throwable _))))

(defn- printer
  "Returns {:queue :due} of a stream, which a thread writes from now on. A permit of :due has it look
  at the queue; two of them, at once."
  [title ^FileDescriptor descriptor]
  (let [queue (atom nothing)
        due (Semaphore. 0)]
    (doto (Thread. ^Runnable #(write-forever (FileOutputStream. descriptor) queue due) (str "temse-" title))
      (.setDaemon true)
      (.start))
    {:queue queue, :due due}))

(defonce ^:private out (delay (printer "stdout" FileDescriptor/out)))

(defonce ^:private err (delay (printer "stderr" FileDescriptor/err)))

(defn- enqueue
  "Has a line of a kind, :line or :problem, written. Never waits."
  [printer line kind]
  (let [{:keys [queue ^Semaphore due]} @printer
        [{before :lines}] (swap-vals! queue queued line kind)]
    (cond
      (= :problem kind) (.release due 2)
      (empty? before) (.release due))))

(defn print-lines!
  "Prints lines on stdout, printable and bounded; they stay together. Never waits and never throws:
  where the output is not read they may be dropped."
  [lines]
  (try
    (when (seq lines)
      (enqueue out
               (string/join "\n" (map #(terminal/for-stdout (Printable/of ^String % (int longest-line))) lines))
               :line))
    (catch Throwable _)))

(defonce ^:private ^{:doc "Whether the last flush! gave up: nobody reads."} unread? (atom false))

(defn flush!
  "Waits until what was printed and logged before is written, but no longer than two seconds."
  []
  (let [end (+ (System/nanoTime) (* 1000000 (long flush-millis)))
        latches (doall
                  (for [printer [out err]
                        :when (realized? printer)
                        :let [{:keys [queue ^Semaphore due]} @printer
                              latch (CountDownLatch. 1)]]
                    (do
                      (swap! queue update :latches conj latch)
                      (.release due 2)
                      latch)))]
    (reset! unread? (not (every? (fn [^CountDownLatch latch]
                                   (.await latch (- end (System/nanoTime)) TimeUnit/NANOSECONDS))
                                 latches)))))

;; ---- log lines

(def ^:private longest-message 8000)

(def ^:private longest-trace 8000)

(def ^:private ^DateTimeFormatter seconds
  (.withZone (DateTimeFormatter/ofPattern "yyyy-MM-dd HH:mm:ss") (ZoneId/systemDefault)))

(def ^:private ^{:doc "The last second that was written, and its text."} last-second (atom [nil nil]))

(defn- timestamp
  "Returns an instant as text. That of its second is kept: many lines have the same."
  [^Instant instant]
  (let [second (.getEpochSecond instant)
        [known text] @last-second
        text (if (= second known) text (.format seconds instant))
        millis (str (quot (.getNano instant) 1000000))]
    (when-not (= second known)
      (reset! last-second [second text]))
    (-> (StringBuilder. 23)
        (.append ^String text)
        (.append ".")
        (.append "000" (.length millis) 3)
        (.append millis)
        .toString)))

(def ^:private ^SimpleFormatter formatter (SimpleFormatter.))

(defn- indented
  "Returns the text with each line printable and all but the first indented, so that what a log line
  quotes does not pass for another log line."
  [^String text longest]
  (if (or (string/includes? text "\n") (string/includes? text "\t"))
    (->> (string/split-lines (subs text 0 (min (.length text) (long longest))))
         (map #(Printable/of ^String (string/replace % "\t" "  ") (int longest)))
         (string/join "\n  "))
    (Printable/of text (int longest))))

(defn- message
  "Returns the text of a record. Its parameters are a user's objects, which may fail."
  [^LogRecord record]
  (try
    (.formatMessage formatter record)
    (catch Throwable _
      (.getMessage record))))

(defn- problem?
  [^LogRecord record]
  (<= (.intValue Level/WARNING) (.intValue (.getLevel record))))

(defn- record-text
  "Returns a record as it is written, of a bounded length."
  [^LogRecord record]
  (let [text (doto (StringBuilder. 256)
               (.append ^String (timestamp (.getInstant record))))]
    (when (problem? record)
      (doto text (.append " ") (.append (.getName (.getLevel record)))))
    (doto text (.append " ") (.append ^String (indented (or (message record) "") longest-message)))
    (when-let [thrown (.getThrown record)]
      (doto text (.append "\n  ") (.append ^String (indented (StackTraces/of thrown (int longest-trace)) longest-trace))))
    (.toString text)))

(defn- log
  "Has a record written. What it holds is formatted here, in the thread that logs, and not kept."
  [record]
  (try
    (enqueue err
             (if-let [formatter @json] (json-text formatter record) (record-text record))
             (if (problem? record) :problem :line))
    (catch Throwable _)))

(defn- handler
  ^Handler []
  (proxy [Handler] []
    (publish [record] (log record))
    (flush [] (flush!))
    (close [] (when-not @unread?
                (flush!)))))

(defonce ^:private ^{:doc "Held here, since java.util.logging forgets loggers that nobody holds."}
  ^Logger milters
  (Logger/getLogger "temse"))

(defonce ^:private ^{:doc "Of HikariCP, which reports what temse.database reports already."}
  ^Logger pools
  (Logger/getLogger "com.zaxxer.hikari"))

(defn configured-by-user
  "Returns the system property by which the user has configured java.util.logging, or nil."
  []
  (first (filter #(System/getProperty %)
                 ["java.util.logging.config.file" "java.util.logging.config.class"])))

(defn log-briefly!
  "Gives java.util.logging one line per record on stderr, those of milters from a level on, unless the
  user has configured it. FINE includes connections and verdicts. Lines are text or, with :json, JSON."
  ([level]
   (log-briefly! level :text))
  ([^Level level log-format]
   (when-not (configured-by-user)
     (.reset (LogManager/getLogManager))
     (reset! json (when (= :json log-format) (JsonFormatter.)))
     (.setLevel milters level)
     (.setLevel pools Level/SEVERE)
     (.addHandler (Logger/getLogger "") (handler)))))

(def ^:private levels
  {:error Level/SEVERE, :warn Level/WARNING, :info Level/INFO, :debug Level/FINE})

(defonce ^:private ^{:doc "The level that milters log from where nobody says another."} configured-level
  (delay (.getLevel milters)))

(defn log-from!
  "Has milters log from a level on, :error, :warn, :info or :debug, whatever java.util.logging is configured to;
  nil stands for what it was before."
  [level]
  (let [^Level configured @configured-level]
    (.setLevel milters (if level (levels level) configured))))
