(ns word-filter
  "Refuses mail whose subject has one of the words that temse.edn gives as :args, and marks all other mail."
  (:refer-clojure :exclude [filter])
  (:require
   [clojure.string :as string]
   [temse.action :as act]
   [temse.milter :as milter :refer [respond]]))

(defn on-header
  "Called for each header field. Remembers the subject until the message ends."
  [{:keys [name value]} context]
  (if (= "subject" (string/lower-case name))
    (milter/update-message context assoc :subject value)
    context))

(defn- forbidden
  "Returns the first of the words that the subject has, or nil."
  [words subject]
  (first (filterv #(string/includes? (string/lower-case subject) (string/lower-case %)) words)))

(defn on-end-of-message
  "Called when the message is complete. Here it can be changed, and the reply decides about it."
  [words _event context]
  (if-let [word (forbidden words (:subject (milter/message context) ""))]
    (respond context (act/reply-code 550 "5.7.1" (str "We do not talk about " word)))
    (respond context (act/add-header "X-Word-Filter" "passed") (act/accept))))

(defn filter
  "Returns the filter: its handlers by event, and the changes that it needs to make."
  [& words]
  {:handlers {:header on-header
              :end-of-message (partial on-end-of-message words)}
   :actions #{:add-header}})
