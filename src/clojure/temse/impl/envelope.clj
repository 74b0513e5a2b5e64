(ns temse.impl.envelope
  "The words of temse.envelope as the facts of the Java side, whose table says what each needs."
  {:no-doc true}
  (:require
   [clojure.string :as string]
   [temse.impl.keys :as keys])
  (:import
   (java.time Instant)
   (java.util Collection)
   (temse.protocol Fact MacroStage)))

(set! *warn-on-reflection* true)

(def words
  "All words."
  (into (sorted-set) (map #(.-keyword ^Fact %)) (Fact/values)))

(defn words?
  "Returns true for what :wants may be."
  [x]
  (and (or (set? x) (sequential? x)) (every? keyword? x)))

(defn facts
  "Returns the facts that words stand for. Throws :bad-options if there is no such word."
  ^Collection [wants]
  (mapv #(or (Fact/ofKeyword %)
             (throw (keys/no-such :wants % (str ":wants: there is no word " (keys/shown %)) words
                                  (str "The words are " (string/join " " words)))))
        wants))

(defn macros
  "Returns the macros that words need, by stage."
  [wants]
  (into {}
        (map (fn [[^MacroStage stage names]] [(.-keyword stage) (vec names)]))
        (Fact/macros (facts wants))))

(def brought
  "What events bring of a client and its mail, for contexts that are made by hand."
  (let [line ["a string" string?]]
    {:client-address line
     :client-name line
     :client-port ["a number" int?]
     :hello-name line
     :sender line
     :recipients ["a vector of strings" #(and (vector? %) (every? string? %))]
     :smtputf8? keys/truth
     :receive-time ["a java.time.Instant" #(instance? Instant %)]}))
