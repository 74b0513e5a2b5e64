(ns temse.impl.keys
  "Maps that users write: what is misspelt is told, not passed over."
  {:no-doc true}
  (:require
   [clojure.string :as string]))

(set! *warn-on-reflection* true)

(defn check
  "Throws an IllegalArgumentException if the map has a key that is not among the known ones."
  [what given known]
  (when-let [unknown (first (remove (set known) (keys given)))]
    (throw (IllegalArgumentException.
             (str "there is no key " (pr-str unknown) " in " what "; its keys are "
                  (string/join " " known))))))
