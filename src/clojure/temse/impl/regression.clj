(ns temse.impl.regression
  "Compares a recorded answer to an event with today's: does it make a difference to the mail?"
  {:no-doc true}
  (:require
   [clojure.string :as string]
   [temse.impl.recording.redaction :as redaction]
   [temse.impl.text :as text])
  (:import
   (temse.protocol ActionCodec ActionType Text)))

(set! *warn-on-reflection* true)

(def agreed-keys
  "What an answer to an offer agrees to."
  [:version :actions :protocol :macros])

(def go-on
  "What no answer comes to."
  {:action :continue})

(defn verdict
  "Returns the ActionType that a reply comes to; a reply that is none stands for itself."
  [reply]
  (if (ActionType/ofKeyword (:action reply))
    (ActionCodec/verdict reply)
    reply))

(defn lets-pass?
  "Returns true if the message goes on after these actions."
  [actions]
  (contains? #{ActionType/CONTINUE ActionType/ACCEPT ActionType/SKIP} (verdict (or (peek actions) go-on))))

(defn ignoring
  "Returns a function of an action from the option :ignore: names of header fields, or such a
  function."
  [ignore]
  (if (or (nil? ignore) (coll? ignore))
    (let [names (into #{} (map text/lower-case) ignore)]
      (fn [{:keys [name] :as action}]
        (cond-> action
          (and name (names (text/lower-case name))) (dissoc :value))))
    ignore))

(defn- comparable
  "Returns an action as a value that is equal to that of an action which does the same."
  [{:keys [action body data] :as given} leading-space?]
  (cond
    (#{:shutdown :connection-failure} action)
    {:action :reply-code, :smtp-code 421, :enhanced-code "4.7.0"
     :text "Service not available, closing transmission channel"}

    (bytes? body)
    (assoc given :body (Text/decode body))

    (bytes? data)
    (assoc given :data (Text/decode data))

    (and leading-space? (:value given))
    (update given :value #(string/replace % #"^ " ""))

    :else
    given))

(defn- answer
  "Returns what an answer comes to: {:modifications :reply}."
  [actions leading-space? ignore]
  (let [actions (into []
                      (comp (remove #(= :progress (:action %)))
                            (map #(comparable % leading-space?))
                            (keep ignore))
                      actions)]
    {:modifications (vec (butlast actions)), :reply (or (peek actions) go-on)}))

(defn- unknown?
  "Returns true for a recorded value that stands for whatever it was."
  [x]
  (cond
    (string? x) (redaction/stand-in? x)
    (sequential? x) (boolean (some unknown? x))
    :else false))

(defn- masked
  "Returns an action of today without what is not known of the recorded one."
  [then now]
  (if (:streamed? then)
    (cond-> now (= (:action then) (:action now)) (-> (dissoc :body) (assoc :streamed? true)))
    (reduce-kv #(cond-> %1 (and (contains? %1 %2) (unknown? %3)) (assoc %2 %3)) now then)))

(defn- all-masked
  [then now redacted?]
  (if (= (count then) (count now))
    (mapv #(if (or redacted? (:streamed? %1)) (masked %1 %2) %2) then now)
    now))

(def ^:private parts
  "What of a message an action changes. Changes of different parts may come in any order."
  {:add-header :headers, :insert-header :headers, :change-header :headers
   :add-recipient :recipients, :delete-recipient :recipients})

(defn- changes
  "Returns modifications by what they change."
  [modifications]
  (group-by #(let [{:keys [action]} %] (parts action action)) modifications))

(defn- same-changes?
  [then now redacted?]
  (let [[then now] (map changes [then now])]
    (and (= (set (keys then)) (set (keys now)))
         (every? (fn [[part then]] (= then (all-masked then (now part) redacted?))) then))))

(defn- same-verdict?
  "Returns true if today's verdict comes to the recorded one. Today's may accept early: what the recorded
  filter has made of the rest is compared then. The reverse cannot be known."
  [then now event exact?]
  (let [passes? #(contains? #{ActionType/CONTINUE ActionType/SKIP} %)]
    (or (= then now)
        (and (not exact?)
             (or (passes? then) (and (= :end-of-message event) (= ActionType/ACCEPT then)))
             (or (passes? now) (= ActionType/ACCEPT now))))))

(defn differs
  "Returns the set of what differs between two answers to an event: :connection, :verdict, :reply,
  :modifications, and :agreement if `exact?` answers are compared.

  What the MTA does is the same where a message is accepted instead of not being refused at its end,
  where the rest of it is skipped, and where a message is changed that is not delivered."
  [{:keys [event]} expected actual {:keys [ignore recorded-space? space? exact? redacted?]}]
  (cond
    (or (nil? expected) (nil? actual))
    (if (= expected actual) #{} #{:connection})

    (= :options event)
    (if (or (not exact?) (apply = (map #(select-keys (first %) agreed-keys) [expected actual])))
      #{}
      #{:agreement})

    :else
    (let [then (answer expected recorded-space? ignore)
          now (answer actual space? ignore)
          same-verdict? (same-verdict? (verdict (:reply then)) (verdict (:reply now)) event exact?)
          [before after] (map :modifications [then now])]
      (cond-> #{}
        (not same-verdict?)
        (conj :verdict)

        (and same-verdict?
             (not (lets-pass? [(:reply then)]))
             (not= (:reply then) (first (all-masked [(:reply then)] [(:reply now)] redacted?))))
        (conj :reply)

        (if exact?
          (not= before (all-masked before after redacted?))
          (and same-verdict?
               (lets-pass? [(:reply then)])
               (not (same-changes? before after redacted?))))
        (conj :modifications)))))
