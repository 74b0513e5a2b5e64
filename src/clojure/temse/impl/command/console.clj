(ns temse.impl.command.console
  "Lines for people at a terminal: what commands print while they serve mail, and log lines where
  nobody has configured java.util.logging.

  stdout and stderr have a queue each and a thread that writes it, so that a terminal that takes
  nothing holds up neither mail nor the other stream. Lines that find the queue full are dropped and
  counted."
  {:no-doc true}
  (:require
   [clojure.string :as string])
  (:import
   (java.io BufferedOutputStream FileDescriptor FileOutputStream IOException OutputStream PrintWriter Writer)
   (java.nio.charset Charset)
   (java.time Instant ZoneId)
   (java.time.format DateTimeFormatter)
   (java.util.concurrent CountDownLatch Semaphore TimeUnit)
   (java.util.logging Handler Level LogManager LogRecord Logger SimpleFormatter)
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

(defn- texts
  "Returns the lines of a queue, at last how many were dropped behind them."
  [{:keys [lines dropped]}]
  (cond-> lines
    (pos? (long dropped))
    (conj (str "temse: " dropped (if (= 1 dropped) " line" " lines")
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
               (string/join "\n" (map #(Printable/of ^String % (int longest-line)) lines))
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

(def ^:private ^DateTimeFormatter timestamp
  (.withZone (DateTimeFormatter/ofPattern "yyyy-MM-dd HH:mm:ss.SSS") (ZoneId/systemDefault)))

(def ^:private ^SimpleFormatter formatter (SimpleFormatter.))

(defn- indented
  "Returns the text with each line printable and all but the first indented, so that what a log line
  quotes does not pass for another log line."
  [^String text longest]
  (if (some #(string/includes? text %) ["\n" "\t"])
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

(defn- bounded-writer
  "Returns a writer to the builder that throws when it has written `longest` characters."
  ^Writer [^StringBuilder builder longest]
  (let [append (fn [^CharSequence text offset length]
                 (let [room (- (long longest) (.length builder))
                       from (long offset)]
                   (.append builder text from (+ from (min room (long length))))
                   (when (< room (long length))
                     (throw (Error. "full")))))
        append-all (fn [^CharSequence text] (append text 0 (.length text)))]
    (proxy [Writer] []
      (write
        ([text] (append-all (cond
                              (string? text) text
                              (int? text) (str (char text))
                              :else (String. ^chars text))))
        ([text offset length]
         (append (if (string? text) text (java.nio.CharBuffer/wrap ^chars text)) offset length)))
      (flush [])
      (close []))))

(defn- stack-trace
  [^Throwable thrown]
  (let [text (StringBuilder.)]
    (try
      (.printStackTrace thrown (PrintWriter. (bounded-writer text longest-trace)))
      (catch Throwable _
        (.append text "\n...")))
    (str text)))

(defn- problem?
  [^LogRecord record]
  (<= (.intValue Level/WARNING) (.intValue (.getLevel record))))

(defn- record-text
  "Returns a record as it is written, of a bounded length."
  [^LogRecord record]
  (str (.format timestamp ^Instant (.getInstant record))
       (when (problem? record)
         (str " " (.getName (.getLevel record))))
       " " (indented (or (message record) "") longest-message)
       (when-let [thrown (.getThrown record)]
         (str "\n  " (indented (stack-trace thrown) longest-trace)))))

(defn- log
  "Has a record written. What it holds is formatted here, in the thread that logs, and not kept."
  [record]
  (try
    (enqueue err (record-text record) (if (problem? record) :problem :line))
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

(defn log-briefly!
  "Gives java.util.logging one line per record on stderr, those of milters from a level on, unless the
  user has configured it. FINE includes connections and verdicts."
  [^Level level]
  (when-not (or (System/getProperty "java.util.logging.config.file")
                (System/getProperty "java.util.logging.config.class"))
    (.reset (LogManager/getLogManager))
    (.setLevel milters level)
    (.addHandler (Logger/getLogger "") (handler))))
