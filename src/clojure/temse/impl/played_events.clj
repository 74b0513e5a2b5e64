(ns temse.impl.played-events
  "Conversations as data: read from EDN, played over a session, compared with what was expected."
  {:no-doc true}
  (:require
   [clojure.edn :as edn]
   [temse.impl.events :as events]
   [temse.impl.keys :as keys]
   [temse.impl.session :as session]
   [temse.test.expect :as expect])
  (:import
   (java.io IOException)
   (java.util Base64)
   (temse.client MtaSession)
   (temse.client.internal BriefMap)
   (temse.protocol MilterException Text)))

(set! *warn-on-reflection* true)

(def ^:private readers
  {'re re-pattern
   'temse/bytes #(.decode (Base64/getDecoder) ^String %)})

(defn read-source
  "See temse.test/read-conversation."
  [source]
  (edn/read-string {:readers readers} (if (string? source) source (slurp source))))

(def ^:private exchange-keys
  (zipmap [:event :response :nanos :expected :pass?] (repeat ["anything" any?])))

(defn exchanges
  "Returns the exchanges of a conversation, which is data or a source of it, checked."
  [conversation]
  (let [given (cond
                (or (sequential? conversation) (map? conversation)) conversation
                (string? conversation) (throw (IllegalArgumentException.
                                                "a conversation is data or a source, not a string"))
                :else (read-source conversation))
        exchanges (if (map? given) (:conversation given) given)]
    (doseq [exchange exchanges]
      (when-not (and (map? exchange) (map? (:event exchange)))
        (throw (IllegalArgumentException.
                 (str "an exchange of a conversation is a map with an event under :event, not "
                      (pr-str exchange)))))
      (keys/check "an exchange" exchange exchange-keys)
      (events/check (:event exchange)))
    exchanges))

(defn- wire-event
  "Returns the event as its codec takes it: a text may stand for bytes, and the stage of macros for
  their letter."
  [{:keys [data stage command] :as event}]
  (cond-> event
    (string? data) (assoc :data (Text/encodeBytes data))
    (and stage (not command)) (assoc :command (session/macro-letter stage))))

(defn- closed-text
  "Returns how the connection has ended, where an exception is about that and not about a wrong event."
  [^MtaSession session e]
  (if (.isOpen session)
    (throw e)
    (ex-message e)))

(defn- exchange-with
  [session {:keys [event response] :or {response '_}}]
  (let [start (System/nanoTime)
        [actual problem] (try
                           [(vec (.send ^MtaSession session (events/check (wire-event event))))]
                           (catch IOException e
                             [[] (closed-text session e)])
                           (catch MilterException e
                             [[] (closed-text session e)]))]
    (cond-> {:event event
             :response actual
             :nanos (- (System/nanoTime) start)
             :expected response
             :pass? (if problem (= :closed response) (expect/matches? response actual))}
      problem (assoc :problem problem))))

(defn- converse
  [session exchanges]
  (loop [[exchange & more] exchanges, played []]
    (if (nil? exchange)
      {:conversation played, :unsent []}
      (let [step (exchange-with session exchange)]
        (if (:problem step)
          {:conversation (conj played step), :unsent (vec more)}
          (recur more (conj played step)))))))

(defn negotiation-step
  "Returns the negotiation as a played exchange."
  [event expected agreed]
  {:event event
   :response [agreed]
   :expected expected
   :pass? (expect/matches? expected [agreed])})

(defn conversed
  "Plays exchanges over a session, behind the negotiation if that is compared, too (or nil), and returns
  the result."
  [session opening exchanges]
  (let [result (converse session exchanges)
        conversation (into (if opening [opening] []) (:conversation result))
        explained (session/with-reasons session conversation)
        errors (session/take-errors session conversation)]
    (BriefMap/of
      (merge result
             {:pass? (and (empty? (:unsent result)) (every? :pass? conversation))
              :conversation explained
              :agreement (.agreement ^MtaSession session)}
             (when errors {:errors errors})))))
