(ns byte-counter
  "Counts the mails that have passed and the bytes of their bodies, and logs both after each mail:
  \"3 mails, 41802 bytes; 120 of them in this one\". It changes and decides nothing. The totals begin
  again when the file is loaded again.

    bin/temse run gallery/byte_counter.clj --listen inet:20025@127.0.0.1"
  (:refer-clojure :exclude [filter])
  (:require
   [clojure.tools.logging :as log]
   [temse.milter :refer [message update-message]]))

(set! *warn-on-reflection* true)

(defn- on-body
  [{:keys [data]} context]
  (update-message context update :bytes (fnil + 0) (alength ^bytes data)))

(defn- on-end-of-message
  "Counts a mail when it is complete: one that is broken off never gets here."
  [totals _event context]
  (let [size (:bytes (message context) 0)
        {:keys [mails bytes]} (swap! totals #(-> % (update :mails inc) (update :bytes + size)))]
    (log/log "temse" :info nil (str mails " mails, " bytes " bytes; " size " of them in this one"))
    context))

(defn filter
  []
  (let [totals (atom {:mails 0, :bytes 0})]
    {:handlers {:body on-body
                :end-of-message (partial on-end-of-message totals)}
     :no-reply-events #{:body :end-of-message}
     :actions #{}}))
