(ns append-note
  "Appends a note to the text of each mail, in plain text and HTML. Signed and encrypted mail, reports
  and invitations pass as they are.

    bin/temse run examples/append_note.clj --listen inet:20025@127.0.0.1 -- \"-- \" \"Example Ltd\""
  (:refer-clojure :exclude [filter])
  (:require
   [clojure.string :as string]
   [temse.filter :refer [changed message-filter]]
   [temse.mime :as mime]))

(set! *warn-on-reflection* true)

(defn filter
  [& lines]
  (let [note (string/join "\n" (or lines ["-- " "Example Ltd, 1 Example Street"]))]
    {:handlers (message-filter (fn [message context] (changed context (mime/append-text message note)))
                               {:when-exceeded :accept})
     :actions #{:change-header :add-header :change-body}}))
