(ns temse.contract
  "The test filter of examples/test_filter.clj, and how to read what it reports."
  (:require
   [clojure.string :as str]
   [temse.harness.smtp :as smtp])
  (:import
   (java.security MessageDigest)
   (java.util HexFormat)))

(set! *warn-on-reflection* true)

(load-file "examples/test_filter.clj")

(def options
  "Returns the options of a variant of the test filter."
  (resolve 'test-filter/filter))

(defn values
  "Returns the values of the fields of a name among pairs of name and value, in order."
  [fields field-name]
  (for [[field value] fields
        :when (.equalsIgnoreCase ^String field-name field)]
    (str/trim value)))

(defn value
  "Returns the value of the only field of a name, or nil if there is another number of them."
  [fields field-name]
  (let [[found & more] (values fields field-name)]
    (when-not more
      found)))

(defn sha-256
  "Returns the digest of octets or bytes, in lower case hex."
  [data]
  (.formatHex (HexFormat/of)
              (.digest (MessageDigest/getInstance "SHA-256")
                       (if (string? data) (smtp/octet-bytes data) data))))

(defn macros
  "Returns the macros of a report: a map of stage to map of name to value, as words."
  [fields]
  (reduce (fn [macros seen]
            (let [[stage macro value] (str/split seen #" ")]
              (assoc-in macros [stage macro] value)))
          {}
          (values fields "X-Saw-Macro")))
