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

(def ^:private most-undecoded
  "Bytes that may wait to be decoded; of a connection beyond that no more is reported."
  67108864)

(def ^:private most-held
  "Bytes that exchanges without replies and unfinished packets of all connections take together; beyond
  that no more is reported of the connection that holds the most."
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
        (log/error problem title "cannot decode what passed:" (log-text/problem-text problem))))))

(defn worker
  "Returns functions that have tasks run by a thread of their own, in order. None waits but :stop.
    :submit  ; of a task and a number of bytes; returns false where too many wait, which none do for nil
    :log     ; of a task that logs, which is dropped where too many wait
    :stop    ; waits for the tasks, ten seconds at most
  What a task throws is logged."
  [title]
  (let [tasks (LinkedBlockingQueue.)
        undecoded (AtomicLong.)
        thread (doto (Thread. ^Runnable
                              (fn []
                                (loop []
                                  (let [[task size] (.take tasks)]
                                    (when task
                                      (perform title task)
                                      (.addAndGet undecoded (- (long size)))
                                      (recur)))))
                              (str title "-decoder"))
                 (.setDaemon true)
                 (.start))
        submit (fn [task size]
                 (let [needed (+ (long task-bytes) (long (or size 0)))
                       room? (or (nil? size) (<= (+ (.get undecoded) needed) (long most-undecoded)))]
                   (when room?
                     (.addAndGet undecoded needed)
                     (.add tasks [task needed]))
                   room?))]
    {:submit submit
     :log (fn [task]
            (submit task 0))
     :stop (fn []
             (.add tasks [nil 0])
             (.join thread (long stop-millis)))}))

(defn holdings
  "Returns what counts the bytes that the decoders of a proxy hold, for the thread of its worker."
  []
  {:by-decoder (HashMap.)
   :total (long-array 1)})

(defn- hold
  "Counts the bytes that a decoder holds now. Those that hold the most are cut by their functions where all
  together hold too much."
  [{:keys [^HashMap by-decoder ^longs total]} decoder cut bytes]
  (let [count-as (fn [decoder cut bytes]
                   (let [[_ before] (.get by-decoder decoder)]
                     (aset total 0 (+ (aget total 0) (- (long bytes) (long (or before 0)))))
                     (if (pos? (long bytes))
                       (.put by-decoder decoder [cut bytes])
                       (.remove by-decoder decoder))))]
    (count-as decoder cut bytes)
    (while (< (long most-held) (aget total 0))
      (let [[heaviest [cut]] (apply max-key (comp second val) by-decoder)]
        (count-as heaviest nil 0)
        (cut)))))

(defn decoder
  "Returns functions that take what one connection passes on: :accept, of a side and its bytes, and :end.
  The exchanges {:event :response :millis} are given to `on-exchange`, at last one of a :disconnect.
  What cannot be decoded, or not in time, or not without holding too much, is not decoded any more, which
  is logged once."
  [{:keys [title submit holdings on-exchange]}]
  (let [ended-by (volatile! nil)
        given-up? (atom false)
        self (Object.)
        exchanged (fn [{:keys [event nanos] :as exchange}]
                    (vreset! ended-by (if (= :quit (:event event)) :quit :connection-lost))
                    (on-exchange (-> exchange
                                     (dissoc :nanos)
                                     (assoc :millis (/ (long nanos) 1e6)))))
        give-up (fn [& why]
                  (when (compare-and-set! given-up? false true)
                    (submit #(log/warn title "passes on, but is not decoded any more:" (apply str why)) nil)))
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
    {:accept (fn [side ^bytes bytes]
               (when-not @given-up?
                 (let [nanos (System/nanoTime)]
                   (when-not (submit #(when-let [take-bytes @tap]
                                        (let [held (take-bytes side bytes nanos)]
                                          (hold holdings self cut (if @tap held 0))))
                               (alength bytes))
                     (give-up "too many bytes wait for it")))))
     :end (fn []
            (submit (fn []
                      (hold holdings self cut 0)
                      (end (if @given-up? :cut :end))
                      (when-let [reason @ended-by]
                        (exchanged {:event {:event :disconnect, :reason (if @given-up? :cut reason)}, :response []
                                    :nanos 0})))
              nil))}))
