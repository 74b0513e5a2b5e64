(ns temse.impl.inspector.conversations
  "The latest conversations of a milter as recordings, for the inspector to play them again. A
  conversation is kept from its first exchange on or not at all; all of them take bounded memory."
  {:no-doc true}
  (:require
   [temse.impl.recording.conversation :as conversation]
   [temse.impl.recording.weight :as weight])
  (:import
   (java.time Instant)
   (java.util ArrayList Date Iterator LinkedHashMap)))

(set! *warn-on-reflection* true)

(def ^:private table
  {:max-bytes 16777216
   :max-conversation-bytes 4194304
   :max-conversations 1000})

(def ^:private exchange-weight
  "Bytes that an exchange takes without its event and response."
  160)

(defn conversations
  "Returns a place for conversations, with other bounds for tests."
  ([]
   (conversations {}))
  ([bounds]
   {:bounds (merge table bounds)
    :kept (LinkedHashMap.)
    :held (long-array 1)}))

(defn- hold
  "Counts bytes."
  [{:keys [^longs held]} more]
  (aset held 0 (+ (aget held 0) (long more))))

(defn- forget
  [{:keys [^LinkedHashMap kept] :as conversations} id]
  (when-let [{:keys [weight]} (.remove kept id)]
    (hold conversations (- (long weight)))))

(defn- put
  "Keeps the state of a conversation, and forgets the oldest others where there is no room."
  [{:keys [bounds ^LinkedHashMap kept ^longs held] :as conversations} id state]
  (hold conversations (- (long (:weight state)) (long (:weight (.get kept id) 0))))
  (.put kept id state)
  (while (or (< (long (:max-bytes bounds)) (aget held 0))
             (< (long (:max-conversations bounds)) (.size kept)))
    (let [^Iterator ids (.iterator (.keySet kept))
          oldest (.next ids)]
      (forget conversations (if (= id oldest) (.next ids) oldest)))))

(defn- began
  [{:keys [peer ^Instant at]} leading-space?]
  {:started (Date/from at)
   :peer peer
   :leading-space? leading-space?
   :exchanges (ArrayList.)
   :weight 1024})

(defn- with-exchange
  "Returns the state of a conversation after an exchange, or that it is too long to be kept."
  [{:keys [^ArrayList exchanges weight] :as state} {:keys [event response millis]} {:keys [max-conversation-bytes]}]
  (let [event (with-meta event nil)
        response (some->> response (mapv conversation/keepable))
        weight (+ (long weight) (long exchange-weight) (weight/of event) (weight/of response))]
    (if (< (long max-conversation-bytes) weight)
      {:cut? true, :weight 256}
      (do
        (.add exchanges {:event event, :response response, :millis millis})
        (assoc state :weight weight)))))

(defn- over?
  "Returns true for an event that says how a message or connection has ended, which no MTA sends."
  [{:keys [event reason]}]
  (or (= :message-end event)
      (and (= :disconnect event) (not= :new-connection reason))))

(defn remember
  "Takes an exchange of the milter. `leading-space?` is its option of that name."
  [{:keys [^LinkedHashMap kept bounds] :as conversations} {:keys [id event] :as exchange} leading-space?]
  (locking kept
    (when (= :options (:event event))
      (forget conversations id)
      (put conversations id (began exchange leading-space?)))
    (when-let [state (.get kept id)]
      (when-not (or (:cut? state) (over? event))
        (put conversations id (with-exchange state exchange bounds))))))

(defn recording
  "Returns the recording of a conversation, as far as it has come; where it cannot be played,
  {:problem why}."
  [{:keys [^LinkedHashMap kept]} id]
  (let [state (locking kept
                (when-let [{:keys [exchanges] :as state} (.get kept id)]
                  (cond-> state
                    exchanges (assoc :exchanges (vec exchanges)))))]
    (cond
      (nil? state) {:problem (str "It cannot be replayed: the inspector was opened after the connection began, or its"
                                  " exchanges were dropped for those of newer connections.")}
      (:cut? state) {:problem "It cannot be replayed: the conversation was cut, since it takes too much memory."}
      :else (conversation/recording-of state))))
