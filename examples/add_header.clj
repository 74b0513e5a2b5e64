(ns add-header
  "Adds a header field to every message.

    bin/temse run examples/add_header.clj --listen inet:20025@127.0.0.1 -- X-Filter hello"
  (:refer-clojure :exclude [filter])
  (:require
   [temse.action :as act]
   [temse.milter :refer [respond]]))

(defn filter
  "Returns a filter that adds the field, by default `X-Filtered: by temse`."
  ([] (filter "X-Filtered" "by temse"))
  ([name value]
   {:handlers {:end-of-message (fn [_event context]
                                 (respond context (act/add-header name value) (act/accept)))}
    :actions #{:add-header}}))

(comment
  (require '[temse.test :as mt])
  (mt/print-report (mt/run-message (filter) "Subject: hi\n\nhello\n")))
