(ns temse.fuzz.engine
  "Fuzz targets: the engine of a connection, which needs nothing of Clojure but its maps."
  (:require
   [temse.fuzz.support :refer [must]])
  (:import
   (temse.server.internal FuzzedConversation FuzzedTrial)))

(set! *warn-on-reflection* true)

(defn engine
  "A conversation, see temse.server.internal.FuzzedConversation: each event that is owed a reply gets one, and no
  other does."
  [^bytes input]
  (let [broken (FuzzedConversation/broken input)]
    (must (empty? broken) (vec broken))))

(defn engine-model
  "A conversation in which everything goes wrong, as in temse.server.internal.ModelTest."
  [^bytes input]
  (let [broken (FuzzedTrial/broken input)]
    (must (empty? broken) (vec broken))))
