(ns temse.impl.inspector.feed
  "What browsers of the inspector receive: the entries that are kept, then new ones as they come. All of
  it is bounded; who is too slow loses the oldest."
  {:no-doc true}
  (:require
   [temse.impl.inspector.entry :as entry]
   [temse.impl.json :as json]
   [temse.impl.line :as line])
  (:import
   (java.util ArrayDeque LinkedHashMap)
   (java.util.concurrent CopyOnWriteArrayList LinkedBlockingQueue TimeUnit)
   (java.util.concurrent.atomic AtomicLong)))

(set! *warn-on-reflection* true)

(def ^:private table
  {:max-entries 5000
   :max-bytes 8388608
   :max-queue 1000
   :max-connections 1000})

(defn feed
  "Returns a feed, with other bounds for tests."
  ([]
   (feed {}))
  ([bounds]
   {:bounds (merge table bounds)
    :kept (ArrayDeque.)
    :size (long-array 1)
    :numbers (AtomicLong.)
    :connections (LinkedHashMap.)
    :readers (CopyOnWriteArrayList.)}))

;; ---- what is known of a connection

(def ^:private most-parts
  "Header fields, and pieces of a body, of one mail that are shown each; of the rest those that were
  answered with more than to go on."
  100)

(defn- known
  "Returns what is known of a connection after an exchange."
  [before {:keys [event response]}]
  (let [event-name (:event event)]
    (cond-> (update before :mail entry/collected event)
      (= :options event-name) (assoc :agreement (first response))
      (= :mail event-name) (assoc :parts 0, :skipped 0)
      (= :define-macro event-name) (assoc-in [:macros (:stage event)] (:definitions event))
      (#{:header :body} event-name) (update :parts (fnil inc 0))
      (get-in event [:definitions "v"]) (assoc :mta (if (re-find #"Postfix" (get-in event [:definitions "v"]))
                                                      :postfix
                                                      :sendmail)))))

(defn- plain?
  "Returns true for one of very many parts that nothing was made of."
  [{:keys [parts]} {:keys [event response failure]}]
  (and (#{:header :body} (:event event))
       (< (long most-parts) (long parts))
       (not failure)
       (every? (comp #{:continue :skip} :action) response)))

(defn- repeated?
  "Returns true for macros that the MTA has sent before with the same values: some send them with each
  header field."
  [{:keys [macros]} {:keys [event]}]
  (and (= :define-macro (:event event))
       (= (:definitions event) (get macros (:stage event)))))

(defn- remember
  [{:keys [^LinkedHashMap connections bounds]} id state]
  (.remove connections id)
  (.put connections id state)
  (when (< (long (:max-connections bounds)) (.size connections))
    (.remove connections (.next (.iterator (.keySet connections))))))

(defn- delivered
  [{:keys [mail agreement mta]} {:keys [event response]}]
  (when (= :end-of-message (:event event))
    (try
      (entry/before-and-after mail agreement (or mta :postfix) response)
      (catch Exception e
        [(line/printable (str "! it cannot be shown: " (ex-message e)))]))))

;; ---- keeping and giving

(defn- trim
  [{:keys [^ArrayDeque kept ^longs size bounds]}]
  (while (or (< (long (:max-entries bounds)) (.size kept))
             (< (long (:max-bytes bounds)) (aget size 0)))
    (aset size 0 (- (aget size 0) (count (second (.removeFirst kept)))))))

(defn- give
  "Gives an entry to a reader. One that is too slow loses the oldest."
  [{:keys [^LinkedBlockingQueue queue ^AtomicLong lost]} numbered]
  (while (not (.offer queue numbered))
    (when (.poll queue)
      (.incrementAndGet lost))))

(defn publish
  "Takes an exchange of the milter."
  [{:keys [^ArrayDeque kept ^longs size ^AtomicLong numbers ^LinkedHashMap connections readers] :as feed}
   {:keys [id event] :as exchange}]
  (locking kept
    (let [before (get connections id)
          after (known before exchange)]
      (cond
        (repeated? before exchange)
        nil

        (plain? after exchange)
        (remember feed id (update after :skipped (fnil inc 0)))

        :else
        (let [number (.incrementAndGet numbers)
              lines (delivered before exchange)
              text (json/text (cond-> (assoc (entry/of exchange) :n number)
                                lines (assoc :delivered lines)
                                (pos? (long (:skipped after 0))) (assoc :skipped (:skipped after))))
              numbered [number text]]
          (if (and (= :disconnect (:event event)) (not= :new-connection (:reason event)))
            (.remove connections id)
            (remember feed id (assoc after :skipped 0)))
          (.addLast kept numbered)
          (aset size 0 (+ (aget size 0) (count text)))
          (trim feed)
          (run! #(give % numbered) readers))))))

(defn reader
  "Returns a new reader of the feed, which first receives what is kept after the number of an entry."
  [{:keys [kept bounds ^CopyOnWriteArrayList readers]} after]
  (locking kept
    (let [reader {:queue (LinkedBlockingQueue. (int (:max-queue bounds)))
                  :backlog (filterv (fn [[number]] (< (long after) (long number))) kept)
                  :lost (AtomicLong.)}]
      (.add readers reader)
      reader)))

(defn forget
  "Ends what `reader` began."
  [{:keys [^CopyOnWriteArrayList readers]} reader]
  (.remove readers reader))

(defn next-entry
  "Returns the next entry of a reader, [number JSON], or nil if none comes within milliseconds."
  [{:keys [^LinkedBlockingQueue queue]} millis]
  (.poll queue millis TimeUnit/MILLISECONDS))

(defn lost
  "Returns how many entries a reader has lost since it was asked last."
  [{:keys [^AtomicLong lost]}]
  (.getAndSet lost 0))
