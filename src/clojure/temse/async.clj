(ns temse.async
  "Lets handlers return core.async channels: the first value of the channel answers the event.

  Loaded by itself when a handler returns a channel. A channel that closes without a value leaves
  the context unchanged.

    (defn on-recipient [{:keys [address]} context]
      (async/go
        (if (= :bad (async/<! (lookup address)))
          (respond context (act/reject))
          context)))"
  (:require
   [clojure.core.async :as async]
   [temse.impl.pending :as pending])
  (:import
   (java.util.concurrent CompletableFuture)))

(set! *warn-on-reflection* true)

(extend-protocol pending/Pending
  clojure.core.async.impl.protocols.ReadPort
  (-stage [channel]
    (let [stage (CompletableFuture.)]
      (async/take! channel #(.complete stage %))
      stage)))
