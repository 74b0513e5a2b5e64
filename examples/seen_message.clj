(ns seen-message
  "Does what seen_filter.clj does, but says that it decides at the end of a message only: the MTA
  waits for one reply a message. The benchmark measures it.

    bin/temse run examples/seen_message.clj --listen inet:20025@127.0.0.1"
  (:refer-clojure :exclude [filter])
  (:require
   [temse.action :as act]
   [temse.milter :refer [default-event-handler message respond update-message]]))

(set! *warn-on-reflection* true)

(defn on-header
  "Counts the field, unless this filter added it at an earlier hop."
  [{:keys [name]} context]
  (if (.equalsIgnoreCase "X-Seen" name)
    context
    (update-message context update :headers (fnil inc 0))))

(defn on-body
  [{:keys [data]} context]
  (update-message context update :bytes (fnil + 0) (alength ^bytes data)))

(defn on-end-of-message
  [_event context]
  (let [{:keys [headers bytes] :or {headers 0, bytes 0}} (message context)]
    (respond context (act/add-header "X-Seen" (str headers " " bytes)))))

(def watchers
  {:connect #'default-event-handler
   :hello #'default-event-handler
   :mail #'default-event-handler
   :recipient #'default-event-handler
   :data #'default-event-handler
   :unknown #'default-event-handler
   :header #'on-header
   :end-of-headers #'default-event-handler
   :body #'on-body})

(def filter
  {:handlers (assoc watchers :end-of-message #'on-end-of-message)
   :no-reply-events (set (keys watchers))
   :actions #{:add-header}
   :max-connections nil})
