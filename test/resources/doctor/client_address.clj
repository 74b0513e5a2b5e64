(ns client-address
  "Adds the address of the client to each mail, by a macro that neither MTA sends unless it is told to."
  (:refer-clojure :exclude [filter])
  (:require
   [temse.action :as act]
   [temse.milter :as milter]))

(def filter
  {:handlers {:end-of-message (fn [_event context]
                                [(act/add-header "X-Client" (milter/get-macro context "client_addr" "unknown"))])}
   :actions #{:add-header}})
