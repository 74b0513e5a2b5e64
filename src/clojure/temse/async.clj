(ns temse.async
  "Lets handlers return core.async channels: the first value of the channel answers the event.

  Loaded by itself when a handler returns a channel. A channel that closes without a value is a
  failure of the handler, since this is all that is left of a go block that has thrown. Write `go` of
  this namespace instead of core.async's: what its body throws is logged and defers the mail, and its
  body may return nil.

    (defn on-recipient [{:keys [address]} context]
      (temse.async/go
        (if (= :bad (async/<! (lookup address)))
          (respond context (act/reject))
          context)))"
  (:require
   [clojure.core.async :as async]
   [temse.impl.pending :as pending])
  (:import
   (java.util.concurrent CompletableFuture)
   (temse.protocol MilterException MilterException$Category)))

(set! *warn-on-reflection* true)

(defmacro go
  "Does what clojure.core.async/go does, for the channel that a handler returns: the value of the
  body is what the handler answers. If the body throws, the channel yields what it threw, which
  counts as thrown by the handler. If it returns nil, the channel yields :temse.async/nothing, which
  handlers may answer for nil.

    (go (if (async/<! (known? address)) nil [(act/reject)]))"
  [& body]
  `(async/go
     (try
       (let [value# (do ~@body)]
         (if (nil? value#) pending/nothing value#))
       (catch Throwable e#
         e#))))

(defn- closed-channel
  "Returns the exception for a channel that has closed without a value."
  []
  (MilterException. MilterException$Category/BAD_HANDLER_RETURN
                    (str "the channel that the handler returned closed without a value; an"
                         " exception inside a go block closes its channel: use temse.async/go,"
                         " which reports it, and which may return nil")
                    (object-array 0)))

(extend-protocol pending/Pending
  clojure.core.async.impl.protocols.ReadPort
  (-stage [channel]
    (let [stage (CompletableFuture.)]
      (async/take! channel
                   #(if (nil? %)
                      (.completeExceptionally stage (closed-channel))
                      (.complete stage %)))
      stage)))
