(ns temse.impl.command.load
  "Plays many mails to a filter over several connections, and measures how long its answers take."
  {:no-doc true}
  (:import
   (java.util.concurrent Callable ExecutionException Executors Future)
   (java.util.concurrent.atomic AtomicInteger)
   (java.util.stream LongStream LongStream$Builder)
   (temse.client Mail MtaSession)))

(set! *warn-on-reflection* true)

(defn message-nanos
  "Returns how long the answers to the events of a report took together."
  ^long [report]
  (transduce (map :nanos) + 0 (:conversation report)))

(defn- add-latency
  [latencies event nanos]
  (let [builder (or (latencies event) (LongStream/builder))]
    (.accept ^LongStream$Builder builder (long nanos))
    (assoc latencies event builder)))

(defn- with-report
  "Returns what one thread has seen, and a report."
  [seen {:keys [verdict conversation] :as report}]
  (-> (reduce (fn [seen {:keys [event nanos]}]
                (update seen :latencies add-latency (:event event) nanos))
              seen
              conversation)
      (update :latencies add-latency :message (message-nanos report))
      (update-in [:verdicts verdict] (fnil inc 0))))

(defn- play-connection
  "Plays a mail and those that follow over one connection, until the filter has settled the fate of
  the client. Returns what was seen, and the mail to be played next."
  [seen connect ^Mail mail next-mail played]
  (with-open [session ^MtaSession (connect)]
    (loop [seen (update seen :connections inc), mail mail]
      (let [report (.deliver session mail)
            seen (with-report seen report)
            more (next-mail)]
        (played)
        (if (or (nil? more) (#{:connect :hello} (:at report)) (not (.isOpen session)))
          [seen more]
          (recur seen more))))))

(defn- play-share
  "Plays a mail and those that follow, over one connection after the other where need be."
  [connect mail next-mail played]
  (loop [seen {:connections 0, :verdicts {}, :latencies {}}
         mail mail]
    (if mail
      (let [[seen more] (play-connection seen connect mail next-mail played)]
        (recur seen more))
      seen)))

(defn- percentiles
  "Returns the number of latencies and percentiles, of the nearest rank, in nanoseconds."
  [builders]
  (let [sorted (-> ^LongStream (reduce #(LongStream/concat %1 %2)
                                       (LongStream/empty)
                                       (map #(.build ^LongStream$Builder %) builders))
                   .sorted
                   .toArray)
        length (alength sorted)
        rank (fn [percent]
               (aget sorted (max 0 (dec (int (Math/ceil (/ (* percent length) 100.0)))))))]
    {:count length
     :min (rank 0)
     :p50 (rank 50)
     :p90 (rank 90)
     :p99 (rank 99)
     :max (rank 100)}))

(defn- summary
  [seen count nanos]
  {:messages count
   :connections (transduce (map :connections) + seen)
   :nanos nanos
   :verdicts (apply merge-with + (map :verdicts seen))
   :latencies (update-vals (apply merge-with into (map #(update-vals (:latencies %) vector) seen))
                           percentiles)})

(defn play
  "Plays `count` messages, which are the mails one after the other and again, from `threads` threads
  with a connection each. A connection that is settled at :connect or :hello is followed by another.

  `connect` returns a session that has been greeted; `played` is called after each message. Throws what stops a thread; the others then
  stop after their message. Returns

    :messages    ; how many there were
    :connections ; over how many connections they went
    :nanos       ; how long all took
    :verdicts    ; how often there was which verdict
    :latencies   ; by event, and of the answers to a whole :message, in nanoseconds:
                 ; {:count :min :p50 :p90 :p99 :max}"
  [connect mails {:keys [count threads played]}]
  (let [mails (vec mails)
        begun (AtomicInteger.)
        stopped (atom false)
        next-mail #(let [n (.getAndIncrement begun)]
                     (when (and (< n (long count)) (not @stopped))
                       (nth mails (rem n (clojure.core/count mails)))))
        share (fn [mail]
                #(try
                   (play-share connect mail next-mail played)
                   (catch Throwable e
                     (reset! stopped true)
                     (throw e))))
        first-mails (vec (repeatedly threads next-mail))
        pool (Executors/newFixedThreadPool threads)
        start (System/nanoTime)]
    (try
      (let [shares (.invokeAll pool ^java.util.Collection (mapv share first-mails))
            seen (mapv #(.get ^Future %) shares)]
        (summary seen count (- (System/nanoTime) start)))
      (catch ExecutionException e
        (throw (ex-cause e)))
      (finally
        (.shutdown pool)))))
