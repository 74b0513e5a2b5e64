(ns temse.impl.watch
  "Exchanges of a milter that runs, as maps for who watches them: see temse.milter/watch-milter."
  {:no-doc true}
  (:require
   [temse.impl.handler :as handler]
   [temse.impl.log :as log])
  (:import
   (java.util.function Consumer)
   (temse.server Exchange)))

(set! *warn-on-reflection* true)

(defn exchange
  "Returns an exchange as a map."
  [^Exchange exchange]
  (let [connection (.connection exchange)
        event (.event exchange)
        mail (.mail exchange)
        failure (.failure exchange)]
    (cond-> {:id (.id connection)
             :peer (.peer connection)
             :mail (when (pos? mail) mail)
             :event (.map event)
             :response (log/answers connection event (.response exchange))
             :at (.at exchange)
             :millis (/ (.toNanos (.duration exchange)) 1e6)
             :before (handler/visible (.before exchange))
             :after (handler/visible (.after exchange))}
      failure (assoc :failure failure))))

(defn watcher
  "Returns a watcher of the Java server that calls f with a map of each exchange. It never throws: that
  f failed is logged, once in ten seconds."
  ^Consumer [title k f]
  (let [f (log/guarded title (str "the watcher " (pr-str k)) #(f (exchange %)))]
    (reify Consumer
      (accept [_ exchange]
        (f exchange)))))
