(ns temse.impl.recording.exchange
  "Recorded exchanges: what they may hold. What a foreign milter has sent need not be good enough to be
  sent again, but it has the right keys and types."
  {:no-doc true}
  (:require
   [temse.impl.events :as events]
   [temse.impl.keys :as keys])
  (:import
   (temse.protocol ActionCodec EventType)))

(set! *warn-on-reflection* true)

(def ^:private maximum-int 0xFFFFFFFF)

(defn- number-from
  [least most]
  [(str "a number from " least " to " most) #(and (int? %) (<= (long least) (long %) (long most)))])

(def ^:private text
  ["a string" string?])

(def ^:private exchange-table
  {:event ["a map with an :event" map?]
   :response ["a vector of actions, or nil" #(or (nil? %) (and (sequential? %) (every? map? %)))]
   :nanos ["nanoseconds, 0 or more" nat-int?]})

(def ^:private undecodable-table
  "What stands for a packet that could not be decoded, of either side."
  {:event ["a keyword" keyword?]
   :action ["a keyword" keyword?]
   :code (number-from 0 255)
   :data ["bytes" bytes?]
   :problem text})

(def ^:private bounds
  "What some values in events must be, besides what they are in events that a user gives."
  {:version (number-from 0 maximum-int)
   :action-mask (number-from 0 maximum-int)
   :protocol-mask (number-from 0 maximum-int)
   :port (number-from 0 65535)
   :index (number-from 1 Integer/MAX_VALUE)
   :data ["bytes" bytes?]
   :definitions ["a map of strings" #(and (map? %) (every? string? (mapcat identity %)))]})

(def ^:private needed
  "The keys that an event must have."
  {:connect [:host-name :family]
   :hello [:greeting]
   :mail [:sender]
   :recipient [:address]
   :header [:name :value]
   :body [:data]
   :unknown [:command]
   :define-macro [:command :definitions]})

(def ^:private action-table
  (let [text-or-nil ["a string" #(or (nil? %) (string? %))]
        position ["a number from 0 to 4294967295" #(or (nil? %) (and (int? %) (<= 0 (long %) (long maximum-int))))]]
    {:action ["a keyword" keyword?]
     :smtp-code (number-from 0 999)
     :enhanced-code text-or-nil
     :text text-or-nil
     :name text
     :value text-or-nil
     :position position
     :index position
     :body ["bytes" bytes?]
     :streamed? ["true" true?]
     :address text
     :parameters ["a string or a vector of strings" #(or (string? %) (keys/strings? %))]
     :reason text
     :why ["anything" any?]}))

(defn- damaged
  [problem]
  (throw (ex-info problem {})))

(defn- check-bounds
  [what given]
  (keys/check what (select-keys given (map key bounds)) bounds))

(defn- check-event
  [{:keys [event] :as given}]
  (cond
    (= :undecodable event) (keys/check "the event :undecodable" given undecodable-table)
    (= :unasked event) (keys/check "the event :unasked" given {:event ["a keyword" any?]})
    :else (let [what (str "the event " event)]
            (events/check given)
            (check-bounds what given)
            (when-let [missing (first (remove #(contains? given %) (needed event)))]
              (damaged (str "in " what ", " missing " is missing"))))))

(defn- check-action
  [{:keys [action event streamed?] :as given}]
  (cond
    (= :options event) (do (events/check-offer given)
                           (check-bounds "the answer to the offer" given))
    (= :undecodable action) (keys/check "the action :undecodable" given undecodable-table)
    :else (do
            (ActionCodec/checkKeys (cond-> given
                                     streamed? (-> (dissoc :streamed?) (assoc :body nil))))
            (keys/check (str "the action " action) given action-table))))

(defn- check-one
  [{:keys [event response] :as exchange}]
  (when-not (and (map? exchange) (map? event) (keyword? (:event event)))
    (damaged "it must be a map with an :event and its :response, a vector of actions"))
  (keys/check "an exchange" (dissoc exchange :remarks) exchange-table)
  (check-event event)
  (run! check-action response))

(defn check
  "Returns an exchange of a recording, the i-th from 0.

  Throws ex-info that names the exchange, the key and the value, and says what would be right."
  [i exchange]
  (try
    (check-one exchange)
    exchange
    (catch Exception e
      (throw (ex-info (str "exchange " (inc (long i)) " is damaged: " (ex-message e)) {} e)))))
