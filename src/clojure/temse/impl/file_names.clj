(ns temse.impl.file-names
  "The names that mail readers may give the file of a part: they differ in what they make of broken and of
  repeated fields and parameters."
  {:no-doc true}
  (:require
   [clojure.string :as string]
   [temse.impl.text :as text])
  (:import
   (java.io ByteArrayOutputStream)
   (temse.mime EncodedWords)
   (temse.protocol Text)))

(set! *warn-on-reflection* true)

(def ^:private parameter
  "A parameter filename or name wherever it stands: its own name, the number of a piece, whether it is encoded,
  and its value, in quotes or not."
  #"(?i)(filename|name)\s*+(?:\*([0-9]{1,6}+))?+(\*)?+\s*+=\s*+(?:\"([^\"]*+)|([^;]*+))")

(defn- parameters
  "Returns the parameters in the value of a header field, as maps."
  [value]
  (for [[_ parameter-name number encoded quoted bare] (re-seq parameter value)]
    {:name (text/lower-case parameter-name)
     :number (some-> number parse-long)
     :value (cond-> (or quoted (string/trim bare))
              encoded (string/replace-first #"^[^']*'[^']*'" ""))}))

(defn- last-pieces
  "Returns the values of which of several pieces of a number the last counts, whether or not numbers are missing."
  [parameters]
  (for [[_ pieces] (group-by :name (filter :number parameters))]
    (string/join (vals (into (sorted-map) (map (juxt :number :value)) pieces)))))

(defn- percent-decoded
  [text]
  (string/replace text
                  #"(?:%[0-9A-Fa-f]{2})+"
                  (fn [^String found]
                    (let [octets (ByteArrayOutputStream.)]
                      (doseq [i (range 1 (count found) 3)]
                        (.write octets (Integer/parseInt (subs found i (+ 2 (long i))) 16)))
                      (Text/decode (.toByteArray octets))))))

(defn- without-comments
  [text]
  (string/replace text #"\([^()]*\)" ""))

(defn- without-backslashes
  "Returns a text in which each quoted pair (RFC 5322 section 3.2.1) is the character that it stands for."
  [text]
  (string/replace text #"\\(.)" "$1"))

(defn all
  "Returns the distinct names of a part's file, first the one that it should have."
  [{:keys [headers filename]}]
  (let [found (for [[field value] headers
                    :when (re-matches #"(?i)content-(?:type|disposition)" field)]
                (parameters value))
        named (concat (when filename [filename]) (mapcat #(map :value %) found) (mapcat last-pieces found))
        decoded (into [] (comp (distinct) (map #(EncodedWords/decode %))) named)]
    (into [] (comp cat (distinct)) [decoded (map percent-decoded decoded) (map without-comments decoded)
                                    (map without-backslashes decoded)])))
