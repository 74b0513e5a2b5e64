(ns temse.impl.pending
  "Values that will come: what counts as one, and how to be notified without holding a thread.

  Stages and channels call back. A Future or promise of the JDK or of Clojure cannot be asked to, so
  one thread looks after all of them (temse.impl.poller). One of another class may do anything when
  it is asked: it gets a thread of its own, which blocks in `get` or `deref`.

  Nobody but us completes or cancels the stages returned here. Cancelling one gives its value up: a
  Future is cancelled if this was all that ever awaited it; what else there is belongs to others."
  {:no-doc true}
  (:require
   [temse.impl.poller :as poller])
  (:import
   (clojure.lang Delay IDeref IPending)
   (java.lang.ref ReferenceQueue WeakReference)
   (java.util.concurrent CompletableFuture CompletionStage ConcurrentHashMap Future)
   (java.util.concurrent.atomic AtomicInteger)
   (java.util.function BiConsumer Function)))

(set! *warn-on-reflection* true)

(def nothing
  "The value that stands for no answer where nil cannot: on channels."
  :temse.async/nothing)

(defprotocol Pending
  "Extended by opt-in namespaces to further sorts of values that will come."
  (-stage [value] "Returns a CompletionStage of the value, or nil if it is no such sort."))

(extend-protocol Pending
  Object
  (-stage [_] nil))

;; ---- who awaits a Future

(defonce ^:private ^ReferenceQueue collected (ReferenceQueue.))

(defonce ^:private ^ConcurrentHashMap awaited (ConcurrentHashMap.))

(defn- identity-of
  "Returns a weak reference that is equal to others of the same object."
  ^WeakReference [value]
  (let [hash-code (System/identityHashCode value)]
    (proxy [WeakReference] [value collected]
      (hashCode [] hash-code)
      (equals [other]
        (let [^WeakReference this this]
          (or (identical? this other)
              (let [referent (.get this)]
                (and (some? referent)
                     (instance? WeakReference other)
                     (identical? referent (.get ^WeakReference other))))))))))

(defn- await-counter
  "Returns the counter of the events that have awaited a Future, which counts this one."
  ^AtomicInteger [future]
  (loop []
    (when-let [gone (.poll collected)]
      (.remove awaited gone)
      (recur)))
  (doto ^AtomicInteger (.computeIfAbsent awaited (identity-of future)
                                         (reify Function
                                           (apply [_ _] (AtomicInteger.))))
    (.incrementAndGet)))

(defn- on-cancel
  "Calls f when the stage is cancelled."
  [^CompletableFuture stage f]
  (.whenComplete stage
                 (reify BiConsumer
                   (accept [_ _ _]
                     (when (.isCancelled stage)
                       (f)))))
  stage)

(defn- cancelling
  "Returns the stage, which cancels the Future when it is cancelled, if no other event has ever
  awaited that."
  [^CompletableFuture stage ^Future future cancel]
  (if (.isDone stage)
    stage
    (let [counter (await-counter future)]
      (on-cancel stage #(when (= 1 (.get counter))
                          (cancel (fn [] (.cancel future true))))))))

;; ---- Futures and promises of other classes

(defn- virtual-threads
  "Returns Thread.startVirtualThread where a virtual thread that blocks leaves its carrier in every
  case, as of JDK 24, or nil."
  []
  (when (<= 24 (.feature (Runtime/version)))
    (.getMethod Thread "startVirtualThread" (into-array Class [Runnable]))))

(def ^:private start-virtual (virtual-threads))

(defn- start-thread
  "Calls f on a daemon thread of its own and returns that."
  ^Thread [^Runnable f]
  (if start-virtual
    (.invoke ^java.lang.reflect.Method start-virtual nil (object-array [f]))
    (doto (Thread. nil f "temse-pending-value" 0 false)
      (.setDaemon true)
      (.start))))

(defn- on-own-thread
  "Completes a stage with what f returns or throws, on a thread of its own, which is interrupted when
  the stage is given up."
  ^CompletableFuture [f]
  (let [stage (CompletableFuture.)]
    (try
      (let [thread (start-thread #(poller/complete stage f))]
        (on-cancel stage #(.interrupt thread)))
      (catch Throwable e
        (.completeExceptionally stage e)
        stage))))

(defn- call-guarded
  "Calls f on a thread of its own: what it does hurts nobody."
  [f]
  (start-thread #(try (f) (catch Throwable _ nil))))

;; ---- what is awaited how

(def ^:private ^ClassLoader clojure-loader
  (.getClassLoader clojure.lang.RT))

(defn- trusted?
  "Returns true if the value's class is known to answer at once when it is asked for the value."
  [value]
  (let [^Class c (class value)
        loader (.getClassLoader c)]
    (or (and (nil? loader) (.startsWith (.getName c) "java.util.concurrent."))
        (and (identical? loader clojure-loader) (.startsWith (.getName c) "clojure.core$")))))

(defn- dependent
  "Returns a stage of our own that comes to the same as another's."
  ^CompletableFuture [^CompletionStage given]
  (let [stage (CompletableFuture.)]
    (.whenComplete given
                   (reify BiConsumer
                     (accept [_ value error]
                       (if (nil? error)
                         (.complete stage value)
                         (.completeExceptionally stage error)))))
    stage))

(def ^:private channels
  (delay (require 'temse.async)))

(defn stage
  "Returns a CompletionStage of a value that will come, or nil if the value is of no such sort: a
  Delay would run where it is asked."
  ^CompletionStage [value]
  (cond
    (instance? CompletionStage value)
    (dependent value)

    (instance? Future value)
    (let [f ^Future value]
      (if (trusted? value)
        (cancelling (poller/stage #(.isDone f) #(.get f)) f #(%))
        (cancelling (on-own-thread #(.get f)) f call-guarded)))

    (and (instance? IPending value) (instance? IDeref value) (not (instance? Delay value)))
    (if (trusted? value)
      (poller/stage #(.isRealized ^IPending value) #(.deref ^IDeref value))
      (on-own-thread #(.deref ^IDeref value)))

    :else
    (do (when (find-ns 'clojure.core.async)
          @channels)
        (-stage value))))
