(ns temse.impl.direct-call
  "Handlers called by hand, without a wire: a connection that records what is sent, and the checks that
  the library makes of an answer."
  {:no-doc true}
  (:require
   [temse.impl.envelope :as envelope]
   [temse.impl.failure :as failure]
   [temse.impl.keys :as keys]
   [temse.impl.options :as options]
   [temse.impl.pending :as pending]
   [temse.impl.return-value :as return-value])
  (:import
   (clojure.lang IPersistentMap)
   (java.util.concurrent ExecutionException TimeUnit)
   (temse.protocol ActionCodec Agreement EventType MilterException)
   (temse.server MilterConnection)
   (temse.server.internal Response)))

(set! *warn-on-reflection* true)

(def ^:private context-options
  {:actions ["a set of actions" #(and (or (nil? %) (set? %) (sequential? %)) (every? keyword? %))]
   :envelope ["a map such as {:sender \"<ann@example.org>\"}" map?]
   :macros ["a map of stage to {name value}"
            #(and (or (nil? %) (map? %)) (every? map? (vals %)))]})

(defn- shorter-words
  [k]
  (let [word (name k)]
    (into #{word} (map #(str (subs word 0 %) (subs word (inc (long %))))) (range (count word)))))

(defn- misspelt
  "Returns the option of context that differs from a key by one letter, or nil."
  [k]
  (when (simple-keyword? k)
    (first (for [option (keys context-options)
                 :when (and (not= k option) (some (shorter-words option) (shorter-words k)))]
             option))))

(defn check-context
  "Throws :bad-options if an option is misspelt or wrong, or a key means nothing to the library."
  [given]
  (when-not (map? given)
    (throw (options/bad-option :options given (str "the options of context must be a map, not "
                                                   (keys/shown given)))))
  (keys/check "the options of context" (select-keys given (keys context-options)) context-options)
  (keys/check "the :envelope of context" (:envelope given) envelope/brought)
  (doseq [k (keys given)]
    (when-let [option (misspelt k)]
      (throw (keys/no-such k k (str "there is no key " k " in the options of context") [option] nil))))
  (return-value/check-context "temse.test/context" (assoc given :milter/connection nil) nil))

(defn- progress?
  [{:keys [action]}]
  (= :progress action))

(defn event-of
  "Returns an event that actions may answer, where nobody has said which they do."
  [actions]
  (if (some #(= :skip (:action %)) actions) EventType/RECIPIENT EventType/END_OF_MESSAGE))

(defn check-response
  "Returns the actions if they may answer the event together. Throws what the library would log."
  [^Agreement agreement ^EventType event answerable? actions]
  (let [response (Response. event answerable? agreement)]
    (doseq [action (remove progress? actions)
            :let [normal (ActionCodec/normalise action)]]
      (.add response (cond-> normal (contains? normal :body) (assoc :body "")))
      (when answerable?
        (ActionCodec/check action (.maximumPayload agreement))))
    actions))

(defn sending
  "Returns a connection that adds what is sent to the :actions of an atom, if it could be sent at some
  event."
  ^MilterConnection [^Agreement agreement table sent]
  (reify MilterConnection
    (id [_] 0)
    (peer [_] "test")
    (agreement [_] agreement)
    (macros [_] table)
    (^void send [_ ^IPersistentMap action]
      (check-response agreement (event-of [action]) true [action])
      (swap! sent update :actions conj action))
    (progress [_] (swap! sent update :actions conj {:action :progress}))
    (awaitMaps [_ _ _ _])
    (close [_])))

(defn awaited
  "Returns the value that a handler's return value yields: itself, unless it is pending."
  [returned]
  (if-let [stage (when-not (or (nil? returned) (map? returned) (sequential? returned))
                   (pending/stage returned))]
    (try
      (.get (.toCompletableFuture stage) 30 TimeUnit/SECONDS)
      (catch ExecutionException e
        (throw (or (ex-cause e) e))))
    returned))

(defn check-answer
  "Checks what a handler has sent and returned for an event. An exception names the handler."
  [^EventType type handler connection actions]
  (try
    (check-response (.agreement ^MilterConnection connection)
                    type
                    (and (.owesReply type) (not (:no-reply (meta handler))))
                    actions)
    (catch MilterException e
      (throw (MilterException. (.category e)
                               (str (ex-message e) "; it comes from " (failure/handler-text handler))
                               e
                               (object-array (mapcat identity (dissoc (ex-data e) :milter/error))))))))
