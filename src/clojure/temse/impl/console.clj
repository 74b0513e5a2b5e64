(ns temse.impl.console
  "Log lines for people at a terminal, where nobody has configured java.util.logging."
  {:no-doc true}
  (:import
   (java.util.logging ConsoleHandler Formatter Level LogManager LogRecord Logger)))

(set! *warn-on-reflection* true)

(defn- line
  [^LogRecord record]
  (let [thrown (.getThrown record)]
    (str (.format (java.time.format.DateTimeFormatter/ofPattern "yyyy-MM-dd HH:mm:ss.SSS")
                  (java.time.LocalDateTime/ofInstant (.getInstant record)
                                                     (java.time.ZoneId/systemDefault)))
         " " (.getName (.getLevel record))
         " " (.getMessage record)
         (when thrown
           (str "\n" (with-out-str
                       (.printStackTrace thrown (java.io.PrintWriter. *out*)))))
         "\n")))

(defn log-briefly!
  "Gives java.util.logging one line per record, unless the user has configured it."
  []
  (when-not (or (System/getProperty "java.util.logging.config.file")
                (System/getProperty "java.util.logging.config.class"))
    (.reset (LogManager/getLogManager))
    (.addHandler (Logger/getLogger "")
                 (doto (ConsoleHandler.)
                   (.setLevel Level/ALL)
                   (.setFormatter (proxy [Formatter] []
                                    (format [record] (line record))))))))
