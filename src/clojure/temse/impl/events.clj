(ns temse.impl.events
  "Events that users write, in tests and conversations: which keys each may have."
  {:no-doc true}
  (:require
   [temse.impl.keys :as keys]
   [temse.impl.options :as options])
  (:import
   (temse.protocol EventType)))

(set! *warn-on-reflection* true)

(def ^:private text
  ["a string" string?])

(def ^:private parameters
  ["a vector of strings" keys/strings?])

(def ^:private number
  ["a number" int?])

(def ^:private names
  ["a set of keywords" #(and (or (set? %) (sequential? %)) (every? keyword? %))])

(def ^:private anything
  ["anything" any?])

(def ^:private tables
  "Of each event its keys besides :event. What a body may be is checked where it is encoded."
  {:options {:version number, :actions names, :protocol names, :action-mask number
             :protocol-mask number, :macros ["a map of stage to names" map?]}
   :define-macro {:stage ["the event that the macros precede" #(or (nil? %) (keyword? %))]
                  :command ["a character" char?]
                  :definitions ["a map of strings" map?]}
   :connect {:host-name text
             :family [":inet, :inet6, :unix or :unknown" #{:inet :inet6 :unix :unknown}]
             :port number
             :address text}
   :hello {:greeting text}
   :mail {:sender text, :options parameters}
   :recipient {:address text, :options parameters}
   :header {:name text, :value text, :index number}
   :body {:data anything}
   :end-of-message {:data anything}
   :unknown {:command text}
   :abort {:at ["a keyword" keyword?]}
   :message-end {:reason ["a keyword" keyword?], :at ["a keyword" keyword?]}
   :disconnect {:reason ["a keyword" keyword?]}})

(defn- check-texts
  "Throws :bad-options for a text that no packet can hold."
  [what given]
  (doseq [[k value] given
          :when (not= :data k)
          [place text] (cond
                         (string? value) [[k value]]
                         (map? value) (mapcat (fn [[k2 v2]] [[[k k2] k2] [[k k2] v2]]) value)
                         (sequential? value) (map-indexed #(vector [k %1] %2) value))
          :when (string? text)]
    (keys/check-text what place :string text)))

(defn check
  "Returns the event map.

  Throws :bad-options that names what would be right, if there is no such event, or if one of its
  keys is unknown or has a wrong value."
  [{:keys [event] :as given}]
  (when-not (map? given)
    (throw (keys/bad-option :event given (str "an event must be a map, not " (keys/shown given)))))
  (let [known (.-keyword ^EventType (options/event-type :event event))]
    (keys/check (str "the event " event) given (assoc (tables known {}) :event anything))
    (check-texts (str "the event " event) given))
  given)

(defn check-offer
  "Returns an :options event, in which all keys may be missing. Throws as `check` does."
  [given]
  (keys/check "an offer"
              given
              (assoc (tables :options) :event [":options" #{:options}])))
