(ns temse.bench.waits
  "Handlers that wait: in their thread beside others that do not, and for pending values."
  (:require
   [temse.bench.peer :as peer]
   [temse.bench.servers :as servers])
  (:import
   (java.nio ByteBuffer)
   (java.nio.channels SelectionKey Selector SocketChannel)
   (java.util Arrays)
   (java.util.concurrent.locks LockSupport)))

(set! *warn-on-reflection* true)

(def ^:private recipient
  (peer/packet {:event :recipient, :address "<b@example.com>", :options []}))

(def ^:private mail
  [[(peer/packet {:event :mail, :sender "<a@example.org>", :options []}) peer/go-on]
   [recipient peer/go-on]])

(defn- field [header-name value]
  (peer/packet {:event :header, :name header-name, :value (str value)}))

(defn- with-mails
  "Returns what f returns of connections in the middle of a mail."
  [n server f]
  (peer/with-connections n
                         (:address server)
                         (fn [channels]
                           (run! #(peer/converse % mail) channels)
                           (f channels))))

;; ---- a handler that sleeps

(def ^:private sleepers 200)
(def ^:private sleep-ms 20)
(def ^:private others 8)
(def ^:private interval-nanos 4000000)
(def ^:private warm-up-seconds 2)
(def ^:private seconds 5)

(defn- keep-busy
  "Sends an event over each connection whenever the one before it was answered, until `done?` is
  realized and all are answered. Returns the number of events."
  [channels ^bytes event done?]
  (with-open [selector (Selector/open)]
    (let [input (ByteBuffer/allocate 64)
          expected (ByteBuffer/wrap peer/go-on)
          answered (fn [^SelectionKey key]
                     (.read ^SocketChannel (.channel key) (.clear input))
                     (when-not (= expected (.flip input))
                       (throw (ex-info "an answer to a sleeping handler is wrong" {})))
                     (if (realized? done?)
                       (.cancel key)
                       (peer/send-bytes (.channel key) event)))]
      (doseq [^SocketChannel channel channels]
        (.configureBlocking channel false)
        (.register channel selector SelectionKey/OP_READ)
        (peer/send-bytes channel event))
      (loop [events 0]
        (if (and (realized? done?) (not-any? SelectionKey/.isValid (.keys selector)))
          events
          (recur (+ events (.select selector ^java.util.function.Consumer answered))))))))

;; The others send at regular times. If an answer is late, the events that have to wait for it count
;; as late, too: a round trip is measured from when its event was due.

(defn- park-until [time]
  (loop []
    (let [left (- (long time) (System/nanoTime))]
      (when (pos? left)
        (LockSupport/parkNanos left)
        (recur)))))

(defn- round-trips
  "Returns the nanoseconds of each round trip of an event."
  [channel event seconds]
  (let [start (System/nanoTime)]
    (mapv (fn [i]
            (let [due (+ start (* interval-nanos (long i)))]
              (park-until due)
              (peer/converse channel [[event peer/go-on]])
              (- (System/nanoTime) due)))
          (range (quot (* seconds 1000000000) interval-nanos)))))

(defn- percentiles [nanos]
  (let [sorted (doto (long-array nanos) Arrays/sort)
        at (fn [fraction]
             (/ (aget sorted (long (* fraction (dec (alength sorted))))) 1e6))]
    {:p50-ms (at 0.5), :p99-ms (at 0.99), :max-ms (at 1)}))

(defn- measured
  "Returns the percentiles of round trips over connections by what they send: half of them the event
  that the others sleep at, half another one."
  [channels seconds]
  (let [events {:same-event (field "X-Fast" "now"), :other-event recipient}
        running (mapv (fn [channel kind]
                        (future {kind (round-trips channel (events kind) seconds)}))
                      channels
                      (cycle (keys events)))]
    (update-vals (apply merge-with into (map deref running)) percentiles)))

(defn- measured-beside
  "Returns round trips as `measured` does, :beside handlers that sleep, the :sleeps-per-second of
  these and the :threads of the server."
  [server channels]
  (with-mails sleepers server
    (fn [sleeping]
      (let [done? (promise)
            start (System/nanoTime)
            sleeps (future (keep-busy sleeping (field "X-Sleep" sleep-ms) done?))
            _ (measured channels warm-up-seconds)
            beside (measured channels seconds)
            threads (servers/threads server)]
        (deliver done? true)
        {:sleeps-per-second (quot (* 1000000000 (long @sleeps)) (- (System/nanoTime) start))
         :beside beside
         :threads threads}))))

(defn sleeping
  "Measures connections whose handlers answer at once, alone and beside those whose handler sleeps:

    :connections :sleep-ms      ; those that sleep, and how long
    :sleeps-per-second          ; handler calls that slept
    :alone :beside              ; round trips of the others, from when each was due:
                                ; {:same-event {:p50-ms 0.1 :p99-ms 0.3 :max-ms 0.9}
                                ;  :other-event {…}}
    :threads-alone :threads     ; of the server's process"
  []
  (with-open [server (servers/start :waiting {})]
    (with-mails others server
      (fn [channels]
        (measured channels warm-up-seconds)
        (merge {:connections sleepers
                :sleep-ms sleep-ms
                :alone (measured channels seconds)
                :threads-alone (servers/threads server)}
               (measured-beside server channels))))))

;; ---- pending values

(def ^:private waiting 2000)
(def ^:private pending-ms 1000)
(def ^:private rounds 5)

(def ^:private steady-jvm
  "Has the JVM keep all its own threads, so that the number of threads tells of the server's."
  {"JDK_JAVA_OPTIONS" "-XX:-UseDynamicNumberOfCompilerThreads -XX:-UseDynamicNumberOfGCThreads"})

(defn- most-threads
  "Sends an event over all connections, then reads the answers; returns the greatest number of
  threads that the server had meanwhile."
  [server channels event]
  (let [start (System/nanoTime)]
    (run! #(peer/send-bytes % event) channels)
    (when (< pending-ms (/ (- (System/nanoTime) start) 5e5))
      (throw (ex-info "the events were sent too slowly to be pending at once" {}))))
  (let [answered (future (run! #(peer/expect % peer/go-on) channels))]
    (loop [most (servers/threads server)]
      (if (= ::not-yet (deref answered 5 ::not-yet))
        (recur (max most (long (servers/threads server))))
        most))))

(defn pending
  "Counts the server's threads while many connections have an event at once, whose values are
  pending, or are there already:

    :connections :pending-ms      ; how many connections, and how long a value is pending
    :threads-without :threads     ; how many there were at most, in the calmest of five rounds: to
                                  ; the server a delay by other programs is a handler that blocks"
  []
  (with-open [server (servers/start :waiting {:environment steady-jvm})]
    (with-mails waiting server
      (fn [channels]
        (let [round (fn []
                      {:threads-without (most-threads server channels (field "X-Fast" "now"))
                       :threads (most-threads server channels (field "X-Pending" pending-ms))})]
          (round)
          (merge {:connections waiting, :pending-ms pending-ms}
                 (apply merge-with min (repeatedly rounds round))))))))
