(ns seen-whole
  "Does what seen_filter.clj does with a message filter, which receives each message as a whole. The
  benchmark measures it.

    bin/temse run examples/seen_whole.clj --listen inet:20025@127.0.0.1"
  (:refer-clojure :exclude [filter])
  (:require
   [temse.action :as act]
   [temse.filter :refer [message-filter]]))

(set! *warn-on-reflection* true)

(defn- ours?
  [[name]]
  (.equalsIgnoreCase "X-Seen" name))

(defn judge
  "Adds how many header fields the message has, those of earlier hops left out, and how many bytes
  its body."
  [{:keys [headers body]} _context]
  [(act/add-header "X-Seen" (str (count (remove ours? headers)) " " (count body)))])

(def filter
  {:handlers (message-filter #'judge)
   :actions #{:add-header}
   :max-connections nil})
