(ns temse.impl.recording.weight
  "How many bytes of memory data takes, estimated from above."
  {:no-doc true}
  (:import
   (java.util List)))

(set! *warn-on-reflection* true)

(def ^:private string-base 56)

(def ^:private map-base 96)

(def ^:private entry-base 56)

(def ^:private collection-base 128)

(def ^:private element-base 24)

(defn of
  "Returns about how many bytes a value takes: maps, collections, strings and bytes with all that is in
  them, any other object as a small one. Takes time linear in the size of the value."
  ^long [value]
  (cond
    (or (nil? value) (keyword? value) (boolean? value)) 0
    (string? value) (+ (long string-base) (* 2 (.length ^String value)))
    (bytes? value) (+ 16 (alength ^bytes value))
    (map? value) (reduce-kv (fn [^long sum k v] (+ sum (long entry-base) (of k) (of v)))
                            (long map-base)
                            value)
    (or (coll? value) (instance? List value)) (reduce (fn [^long sum v] (+ sum (long element-base) (of v)))
                                                      (long collection-base)
                                                      value)
    :else 32))
