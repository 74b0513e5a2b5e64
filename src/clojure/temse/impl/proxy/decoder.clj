(ns temse.impl.proxy.decoder
  "Decodes what a proxy passes on, apart from the passing: one thread of a proxy does it, in the order
  in which the bytes have passed."
  {:no-doc true}
  (:require
   [clojure.tools.logging :as log]
   [temse.impl.log :as log-text]
   [temse.impl.proxy.tap :as tap])
  (:import
   (java.util HashMap)
   (java.util.concurrent LinkedBlockingQueue)
   (java.util.concurrent.atomic AtomicLong)))

(set! *warn-on-reflection* true)

(def ^:private stop-millis 10000)

(def ^:private most-untold
  "Bytes that may wait to be decoded; of a connection beyond that no more is told."
  67108864)

(def ^:private most-held
  "Bytes that exchanges without replies and unfinished packets of all connections take together; beyond
  that no more is told of the connection that holds the most."
  67108864)

(def ^:private task-bytes
  "Bytes that a task takes besides those that it decodes."
  200)

(defn- perform
  [title task]
  (try
    (task)
    (catch Throwable problem
      (log-text/quietly
        (log/error problem title "cannot tell what passed:" (log-text/problem-text problem))))))

(defn teller
  "Returns functions that have tasks run by a thread of their own, in order. None waits but :stop.
    :tell  ; of a task and a number of bytes; returns false where too many wait, which none do for nil
    :say   ; of a task that logs, which is dropped where too many wait
    :stop  ; waits for the tasks, ten seconds at most
  What a task throws is logged."
  [title]
  (let [tasks (LinkedBlockingQueue.)
        untold (AtomicLong.)
        thread (doto (Thread. ^Runnable
                              (fn []
                                (loop []
                                  (let [[task size] (.take tasks)]
                                    (when task
                                      (perform title task)
                                      (.addAndGet untold (- (long size)))
                                      (recur)))))
                              (str title "-teller"))
                 (.setDaemon true)
                 (.start))
        tell (fn [task size]
               (let [needed (+ (long task-bytes) (long (or size 0)))
                     room? (or (nil? size) (<= (+ (.get untold) needed) (long most-untold)))]
                 (when room?
                   (.addAndGet untold needed)
                   (.add tasks [task needed]))
                 room?))]
    {:tell tell
     :say (fn [task]
            (tell task 0))
     :stop (fn []
             (.add tasks [nil 0])
             (.join thread (long stop-millis)))}))

(defn holdings
  "Returns what keeps count of what the ears of a proxy hold, for the thread of its teller."
  []
  {:by-ear (HashMap.)
   :total (long-array 1)})

(defn- hold
  "Counts the bytes that an ear holds now. Ears that hold the most are cut by their functions where all
  together hold too much."
  [{:keys [^HashMap by-ear ^longs total]} ear cut bytes]
  (let [count-as (fn [ear cut bytes]
                   (let [[_ before] (.get by-ear ear)]
                     (aset total 0 (+ (aget total 0) (- (long bytes) (long (or before 0)))))
                     (if (pos? (long bytes))
                       (.put by-ear ear [cut bytes])
                       (.remove by-ear ear))))]
    (count-as ear cut bytes)
    (while (< (long most-held) (aget total 0))
      (let [[heaviest [cut]] (apply max-key (comp second val) by-ear)]
        (count-as heaviest nil 0)
        (cut)))))

(defn ear
  "Returns functions that hear what one connection passes on: :hear, of a side and its bytes, and :end.
  The exchanges {:event :response :millis} are given to `on-exchange`, at last one of a :disconnect.
  What cannot be decoded, or not in time, or not without holding too much, is not decoded any more, which
  is logged once."
  [{:keys [title tell holdings on-exchange]}]
  (let [ended-by (volatile! nil)
        deaf? (atom false)
        self (Object.)
        exchanged (fn [{:keys [event nanos] :as exchange}]
                    (vreset! ended-by (if (= :quit (:event event)) :quit :connection-lost))
                    (on-exchange (-> exchange
                                     (dissoc :nanos)
                                     (assoc :millis (/ (long nanos) 1e6)))))
        give-up (fn [& why]
                  (when (compare-and-set! deaf? false true)
                    (tell #(log/warn title "passes on, but is not decoded any more:" (apply str why)) nil)))
        tap (volatile! nil)
        end (fn [how]
              (when-let [ending @tap]
                (vreset! tap nil)
                (ending how)))
        cut (fn []
              (give-up "together with others it holds too many bytes without replies")
              (end :cut))]
    (vreset! tap (tap/tap exchanged
                          (fn [side e]
                            (give-up "what the " (name side) " sends is no packet: " (log-text/problem-text e))
                            (vreset! tap nil))))
    {:hear (fn [side ^bytes bytes]
             (when-not @deaf?
               (let [nanos (System/nanoTime)]
                 (when-not (tell #(when-let [hearing @tap]
                                    (let [held (hearing side bytes nanos)]
                                      (hold holdings self cut (if @tap held 0))))
                                 (alength bytes))
                   (give-up "too many bytes wait for it")))))
     :end (fn []
            (tell (fn []
                    (hold holdings self cut 0)
                    (end (if @deaf? :cut :end))
                    (when-let [reason @ended-by]
                      (exchanged {:event {:event :disconnect, :reason (if @deaf? :cut reason)}, :response []
                                  :nanos 0})))
                  nil))}))
