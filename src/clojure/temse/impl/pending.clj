(ns temse.impl.pending
  "Values that will come: what they are, and how to hear of them without holding a thread."
  {:no-doc true}
  (:import
   (clojure.lang IBlockingDeref IDeref IPending)
   (java.util.concurrent CompletableFuture CompletionStage ConcurrentLinkedQueue ExecutionException Future)
   (java.util.concurrent.locks LockSupport)))

(set! *warn-on-reflection* true)

(defprotocol Pending
  "Extended by opt-in namespaces to further sorts of values that will come."
  (-stage [value] "Returns a CompletionStage of the value, or nil if it is no such sort."))

(extend-protocol Pending
  Object
  (-stage [_] nil))

;; A Future or promise cannot be asked to call back: one thread looks after all of them, and sleeps
;; while there are none.

(def ^:private poll-nanos 1000000)

(defonce ^:private ^ConcurrentLinkedQueue watched (ConcurrentLinkedQueue.))

(defn- settle-watched
  [[done? value ^CompletableFuture stage]]
  (when (done?)
    (try
      (.complete stage (value))
      (catch ExecutionException e
        (.completeExceptionally stage (or (ex-cause e) e)))
      (catch Throwable e
        (.completeExceptionally stage e)))
    true))

(defn- watch-for-ever
  []
  (if (.isEmpty watched)
    (LockSupport/park)
    (LockSupport/parkNanos poll-nanos))
  (doseq [entry watched
          :when (or (.isDone ^CompletableFuture (peek entry))
                    (settle-watched entry))]
    (.remove watched entry))
  (recur))

(defonce ^:private watcher
  (delay (doto (Thread. ^Runnable watch-for-ever "temse-pending-values")
           (.setDaemon true)
           (.start))))

(defn- watch
  [done? value]
  (let [stage (CompletableFuture.)]
    (.add watched [done? value stage])
    (LockSupport/unpark @watcher)
    stage))

(defn- cancelling
  "Returns a stage that cancels the future when it is cancelled itself."
  [^CompletableFuture stage ^Future f]
  (.whenComplete stage
                 (reify java.util.function.BiConsumer
                   (accept [_ _ _]
                     (when (.isCancelled stage)
                       (.cancel f true)))))
  stage)

(def ^:private channels
  (delay (require 'temse.async)))

(defn stage
  "Returns a CompletionStage of a value that will come, or nil if the value is of no such sort."
  ^CompletionStage [value]
  (cond
    (instance? CompletionStage value)
    value

    (instance? Future value)
    (let [f ^Future value]
      (cancelling (watch #(.isDone f) #(.get f)) f))

    (and (instance? IPending value) (instance? IBlockingDeref value))
    (watch #(.isRealized ^IPending value) #(.deref ^IDeref value))

    :else
    (do (when (find-ns 'clojure.core.async)
          @channels)
        (-stage value))))
