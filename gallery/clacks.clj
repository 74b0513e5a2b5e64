(ns clacks
  "Keeps a name in the overhead, as long as mail is passed on: adds X-Clacks-Overhead: GNU Terry Pratchett to
  each mail that does not have it yet.

    bin/temse run gallery/clacks.clj --listen inet:20025@127.0.0.1 -- clacks.edn

  Settings:

    :names [\"Terry Pratchett\"]   ; who is not forgotten"
  (:refer-clojure :exclude [filter])
  (:require
   [clojure.string :as string]
   [temse.action :as act]
   [temse.configuration :refer [read-settings]]
   [temse.milter :refer [message respond update-message]]))

(set! *warn-on-reflection* true)

(def ^:private field "X-Clacks-Overhead")

(defn- on-header
  "Remembers what is in the overhead already."
  [{:keys [name value]} context]
  (cond-> context
    (.equalsIgnoreCase ^String field name)
    (update-message update :overhead (fnil conj #{}) (string/trim value))))

(defn- on-end-of-message
  [names _event context]
  (let [missing (remove (:overhead (message context) #{}) (map #(str "GNU " %) names))]
    (apply respond context (map #(act/add-header field %) missing))))

(defn filter
  ([] (filter nil))
  ([file]
   (let [{:keys [names]} (read-settings file {:names ["a sequence of names"
                                                      #(and (sequential? %) (every? string? %))
                                                      ["Terry Pratchett"]]})]
     {:handlers {:header on-header
                 :end-of-message (partial on-end-of-message names)}
      :no-reply-events #{:header}
      :actions #{:add-header}})))
