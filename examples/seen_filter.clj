(ns seen-filter
  "Receives every event, counts the header fields and the bytes of the body, and adds
  `X-Seen: HEADERS BYTES`, two decimal numbers. The benchmark measures it.

    bin/temse run examples/seen_filter.clj --listen inet:20025@127.0.0.1"
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

(def filter
  {:handlers {:connect #'default-event-handler
              :hello #'default-event-handler
              :mail #'default-event-handler
              :recipient #'default-event-handler
              :data #'default-event-handler
              :unknown #'default-event-handler
              :header #'on-header
              :end-of-headers #'default-event-handler
              :body #'on-body
              :end-of-message #'on-end-of-message}
   :actions #{:add-header}
   :max-connections nil})
