(ns temse.impl.log
  "What the Java server reports, written with clojure.tools.logging."
  {:no-doc true}
  (:require
   [clojure.tools.logging :as log]
   [temse.report :as report])
  (:import
   (java.io IOException)
   (temse.protocol EventType)
   (temse.server ConnectionInfo ServerListener)))

(set! *warn-on-reflection* true)

(defn- who
  [server ^ConnectionInfo connection]
  (str server " " (.id connection) " " (.peer connection)))

(defn- told?
  "Returns true if the error that a connection ended with has been logged already."
  [error]
  (not (or (instance? IOException error)
           (= :connection-lost (:milter/error (ex-data error))))))

(defn- verdict-text
  [event reply ended]
  (str (when ended " message ")
       (when ended (name ended))
       (when event " at ")
       (when event (.getName (.-keyword ^EventType event)))
       (when (and event (not= :continue (:action reply)))
         (str ": " (report/action-text reply)))))

(defn listener
  "Returns a listener that writes under the server's name, and calls `on-exchange` (or nil) with a
  map of each exchange."
  ^ServerListener [server on-exchange]
  (reify ServerListener
    (negotiated [_ connection]
      (log/debug (who server connection) "connected"))
    (verdict [_ connection event reply ended]
      (log/log :debug (str (who server connection) (verdict-text event reply ended))))
    (closed [_ connection error]
      (if (told? error)
        (log/debug (who server connection) "closed")
        (log/info (who server connection) "closed:" (ex-message error))))
    (violated [_ connection error]
      (log/warn (who server connection) "protocol error, closing:" (ex-message error)
                (dissoc (ex-data error) :action)))
    (failed [_ connection type event error]
      (log/error error (who server connection) "the handler of"
                 (str (.-keyword ^EventType type)) "failed:" (ex-message error) (dissoc event :data)))
    (refused [_ peer why]
      (log/warn server "refused" peer why))
    (wantsExchanges [_]
      (some? on-exchange))
    (exchanged [_ connection event response nanos]
      (try
        (on-exchange {:id (.id ^ConnectionInfo connection)
                      :peer (.peer ^ConnectionInfo connection)
                      :event event
                      :response (vec response)
                      :millis (/ nanos 1e6)})
        (catch Throwable e
          (log/error e server ":on-exchange failed"))))))
