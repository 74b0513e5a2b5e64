(ns temse.impl.command.insight
  "What `temse run` shows to those who watch it: metrics over HTTP and JMX, and its lines as text or
  JSON."
  {:no-doc true}
  (:require
   [temse.impl.command.arguments :refer [fail]]
   [temse.impl.command.console :as console]
   [temse.impl.keys :as keys]
   [temse.impl.log :as log])
  (:import
   (java.io Closeable)
   (java.util.logging Level)))

(set! *warn-on-reflection* true)

;; ---- HTTP

(defn limit-connections!
  "Sets the limit of connections of the JDK's HTTP servers, which is for the whole process, unless the user
  has. It must come before the first of these servers, those of the metrics and of the inspector."
  []
  (let [most "jdk.httpserver.maxConnections"]
    (when-not (System/getProperty most)
      (System/setProperty most "64"))))

;; ---- metrics

(defn address
  "Reads where metrics are served: a port of the loopback address, or a host and a port."
  [option text]
  (let [[_ bracketed host digits] (re-matches #"(?:(?:\[([^\[\]]+)\]|([^:\[\]]+)):)?([0-9]{1,5})" text)
        port (some-> digits parse-long)]
    (if (and port (<= (long port) 65535))
      (cond-> {:port port}
        (or bracketed host) (assoc :host (or bracketed host)))
      (fail option " needs a port such as 9100, or a host and a port such as 192.0.2.1:9100 or"
            " [2001:db8::1]:9100, not " (keys/shown text)))))

(defn metrics
  "Serves metrics over HTTP of the milters that a function returns, if there is an address, registers those of
  now for JMX, and returns what ends the former."
  ^Closeable [milters address]
  (if address
    (do
      (run! (requiring-resolve 'temse.metrics/register!) (milters))
      ((requiring-resolve 'temse.metrics/start!) milters address))
    (reify Closeable
      (close [_]))))

;; ---- lines

(defn log-lines!
  "Has log lines written in a format, :json or else as text."
  [log-format]
  (when (and (= :json log-format) (console/configured-by-user))
    (fail "--log json: the system property " (console/configured-by-user) " configures the log already;"
          " name temse.logging.JsonFormatter there, or leave it out"))
  (console/log-briefly! Level/FINE log-format))

(defn say
  "Prints a line about a milter, or logs it where lines are JSON, with what it is about."
  [log-format server level fields text]
  (if (= :json log-format)
    (log/note level server fields text)
    (console/print-lines! [text])))

(defn exchange-fields
  "Returns what the line of an exchange is about."
  [{:keys [id peer event millis]}]
  {"connection" id, "peer" peer, "event" (name (:event event)), "millis" millis})
