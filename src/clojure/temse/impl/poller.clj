(ns temse.impl.poller
  "Looks whether values have come that cannot be asked to call back: one daemon thread for all, which
  sleeps while there are none.

  A value is looked at every millisecond at first, and the more seldom the older it is: at most a
  sixteenth of its age late, and at least four times a second. So the values lie on levels, whose
  intervals double from one to the next."
  {:no-doc true}
  (:import
   (java.util ArrayList)
   (java.util.concurrent CompletableFuture ConcurrentLinkedQueue ExecutionException)
   (java.util.concurrent.locks LockSupport)))

(set! *warn-on-reflection* true)

(deftype ^:private Watch [done? value ^CompletableFuture stage ^long since])

(def ^:private intervals
  "How often the values of each level are looked at, in nanoseconds."
  (long-array (map #(* 1000000 (long %)) [1 2 4 8 16 32 64 128 250])))

(def ^:private ^:const ages-per-interval 16)

(defonce ^:private ^ConcurrentLinkedQueue arriving (ConcurrentLinkedQueue.))

(defn complete
  "Completes a stage with what `value` returns or throws."
  [^CompletableFuture stage value]
  (try
    (.complete stage (value))
    (catch ExecutionException e
      (.completeExceptionally stage (or (ex-cause e) e)))
    (catch Throwable e
      (.completeExceptionally stage e))))

(defn- settled?
  "Returns true if a value has come, or is not waited for any more, or cannot be asked."
  [^Watch watch]
  (let [^CompletableFuture stage (.-stage watch)]
    (or (.isDone stage)
        (try
          (when ((.-done? watch))
            (complete stage (.-value watch))
            true)
          (catch Throwable e
            (.completeExceptionally stage e)
            true)))))

(defn- look
  "Looks at the values of a level. Those that have come are taken out, those that have grown old go
  to the next level, which may be nil; the last one takes the place of what leaves."
  [^ArrayList level ^ArrayList next-level ^long interval ^long now]
  (loop [i (dec (.size level))]
    (when-not (neg? i)
      (let [^Watch watch (.get level i)
            came? (settled? watch)
            old? (and (not came?)
                      (some? next-level)
                      (<= (* 2 ages-per-interval interval) (- now (.-since watch))))]
        (when old?
          (.add next-level watch))
        (when (or came? old?)
          (let [last-one (.remove level (dec (.size level)))]
            (when (< i (.size level))
              (.set level i last-one))))
        (recur (dec i))))))

(defn- watch-for-ever
  "Looks at the values of each level whenever its interval is over."
  []
  (let [^longs intervals intervals
        levels (object-array (repeatedly (alength intervals) #(ArrayList.)))
        due (long-array (alength intervals))]
    (while true
      (try
        (let [now (System/nanoTime)]
          (loop []
            (when-let [watch (.poll arriving)]
              (.add ^ArrayList (aget levels 0) watch)
              (recur)))
          (loop [i 0, wait Long/MAX_VALUE]
            (if (< i (alength levels))
              (let [^ArrayList level (aget levels i)]
                (when (and (not (.isEmpty level)) (<= 0 (- now (aget due i))))
                  (aset due i (+ now (aget intervals i)))
                  (look level
                        (when (< (inc i) (alength levels)) (aget levels (inc i)))
                        (aget intervals i)
                        now))
                (recur (inc i) (if (.isEmpty level) wait (min wait (- (aget due i) now)))))
              (cond
                (not (.isEmpty arriving)) nil
                (= Long/MAX_VALUE wait) (LockSupport/park arriving)
                :else (LockSupport/parkNanos arriving (max 100000 wait))))))
        (catch Throwable _
          (LockSupport/parkNanos 1000000))))))

(def ^:private thread (volatile! nil))

(defn- running-thread
  ^Thread []
  (let [running ^Thread @thread]
    (if (and running (.isAlive running))
      running
      (locking thread
        (let [running ^Thread @thread]
          (if (and running (.isAlive running))
            running
            (vreset! thread
                     (doto (Thread. nil ^Runnable watch-for-ever "temse-pending-values" 0 false)
                       (.setDaemon true)
                       (.start)))))))))

(defn stage
  "Returns a stage that gets the value of `value` soon after `done?` returns true; both answer at
  once. It has failed where no thread can be had to look."
  ^CompletableFuture [done? value]
  (let [stage (CompletableFuture.)]
    (try
      (if (done?)
        (complete stage value)
        (let [looking (running-thread)]
          (.add arriving (->Watch done? value stage (System/nanoTime)))
          (LockSupport/unpark looking)))
      (catch Throwable e
        (.completeExceptionally stage e)))
    stage))
