(ns temse.impl.console
  "Log lines for people at a terminal, where nobody has configured java.util.logging."
  {:no-doc true}
  (:import
   (java.io BufferedWriter FileDescriptor FileOutputStream IOException OutputStreamWriter PrintWriter StringWriter Writer)
   (java.time Instant ZoneId)
   (java.time.format DateTimeFormatter)
   (java.util.logging Handler Level LogManager LogRecord Logger)))

(set! *warn-on-reflection* true)

(def ^:private flush-millis 100)

(def ^:private ^DateTimeFormatter timestamp
  (.withZone (DateTimeFormatter/ofPattern "yyyy-MM-dd HH:mm:ss.SSS") (ZoneId/systemDefault)))

(defn- problem?
  [^LogRecord record]
  (<= (.intValue Level/WARNING) (.intValue (.getLevel record))))

(defn- stack-trace
  [^Throwable thrown]
  (let [text (StringWriter.)]
    (.printStackTrace thrown (PrintWriter. text))
    (str text)))

(defn- line
  [^LogRecord record]
  (str (.format timestamp ^Instant (.getInstant record))
       (when (problem? record)
         (str " " (.getName (.getLevel record))))
       " " (.getMessage record) "\n"
       (some-> (.getThrown record) stack-trace)))

(defn- write
  "Writes text, and all that has been gathered if asked to. Where nobody reads the terminal any more
  the mail goes on all the same."
  [^Writer out ^String text flush?]
  (try
    (.write out text)
    (when flush?
      (.flush out))
    (catch IOException _)))

(defn- flush-now-and-then
  [out]
  (doto (Thread. (fn []
                   (while true
                     (Thread/sleep (long flush-millis))
                     (write out "" true)))
                 "temse-log")
    (.setDaemon true)
    (.start)))

(defn- handler
  "Returns a handler that gathers lines, since a write for each would cost more than the mail it
  tells of; what is wrong is written at once."
  ^Handler []
  (let [out (BufferedWriter. (OutputStreamWriter. (FileOutputStream. FileDescriptor/err)))]
    (flush-now-and-then out)
    (proxy [Handler] []
      (publish [record] (write out (line record) (problem? record)))
      (flush [] (write out "" true))
      (close [] (write out "" true)))))

(defonce ^:private ^{:doc "Held here, since java.util.logging forgets loggers that nobody holds."}
  ^Logger milters
  (Logger/getLogger "temse.impl.log"))

(defn log-briefly!
  "Gives java.util.logging one line per record, connections and verdicts of milters included, unless
  the user has configured it."
  []
  (when-not (or (System/getProperty "java.util.logging.config.file")
                (System/getProperty "java.util.logging.config.class"))
    (.reset (LogManager/getLogManager))
    (.setLevel milters Level/FINE)
    (.addHandler (Logger/getLogger "") (handler))))

(defn flush-log!
  "Writes what has been gathered."
  []
  (run! #(.flush ^Handler %) (.getHandlers (Logger/getLogger ""))))
