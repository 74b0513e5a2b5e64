(ns append-note
  "Appends a note to the text of each mail, in plain text and HTML. Signed and encrypted mail, reports
  and invitations pass as they are.

    bin/temse run examples/append_note.clj --listen inet:20025@127.0.0.1 -- \"-- \" \"Example Ltd\""
  (:refer-clojure :exclude [filter])
  (:require
   [clojure.string :as string]
   [temse.action :as act]
   [temse.filter :refer [message-filter]]
   [temse.mime :as mime]))

(set! *warn-on-reflection* true)

(defn- with-note
  [note message]
  (let [{:keys [headers body] :as changed} (mime/append-text message note)]
    (when-not (identical? changed message)
      (conj (mapv (fn [[name value]] (act/change-header name value))
                  (remove (set (:headers message)) headers))
            (act/change-body body)))))

(defn filter
  [& lines]
  (let [note (string/join "\n" (or lines ["-- " "Example Ltd, 1 Example Street"]))]
    {:handlers (message-filter (fn [message _context] (with-note note message))
                               {:when-exceeded :accept})
     :actions #{:change-header :change-body}}))
