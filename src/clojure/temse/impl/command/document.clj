(ns temse.impl.command.document
  "Data as text for other programs: one line of ASCII, in JSON or EDN.

  Byte arrays are written as temse's lossless text, and so are texts: a byte b that is no UTF-8 is
  the lone surrogate U+DC00+b, escaped as \\udcxx in both formats. What reads \\u escapes one by one
  gets the text back; Python's encode(\"utf-8\", \"surrogateescape\") then makes the bytes of it."
  {:no-doc true}
  (:require
   [clojure.string :as string]
   [temse.impl.text :as text])
  (:import
   (temse.protocol Text)))

(set! *warn-on-reflection* true)

(defn- unicode-escapes
  [text]
  (string/join (map #(text/formatted "\\u%04x" (int %)) text)))

(defn- in-ascii
  "Returns text with all that is not printable ASCII escaped, as it can be in strings only."
  [text]
  (string/replace text #"[^ -~]+" unicode-escapes))

(def ^:private short-escapes
  {\" "\\\"", \\ "\\\\", \newline "\\n", \return "\\r", \tab "\\t"})

(defn- json-string
  [text]
  (str \" (in-ascii (string/escape text short-escapes)) \"))

(defn json
  "Returns a value as JSON: keywords without their colon, sets and sequences as arrays.

    (json {:verdict :accept, :body (.getBytes \"hi\\n\")})
    ;=> \"{\\\"verdict\\\":\\\"accept\\\",\\\"body\\\":\\\"hi\\\\n\\\"}\""
  [value]
  (cond
    (nil? value) "null"
    (or (boolean? value) (int? value)) (str value)
    (keyword? value) (json-string (name value))
    (bytes? value) (json-string (Text/decode value))
    (map? value) (str "{"
                      (string/join "," (for [[k v] value]
                                         (str (json-string (if (keyword? k) (name k) (str k)))
                                              ":" (json v))))
                      "}")
    (set? value) (recur (sort-by str value))
    (coll? value) (str "[" (string/join "," (map json value)) "]")
    :else (json-string (str value))))

(defn- without-bytes
  "Returns a value with texts in place of byte arrays; the order of maps is kept."
  [value]
  (cond
    (bytes? value) (Text/decode value)
    (map? value) (apply array-map (mapcat (fn [[k v]] [k (without-bytes v)]) value))
    (set? value) (into #{} (map without-bytes) value)
    (coll? value) (mapv without-bytes value)
    :else value))

(defn edn
  "Returns a value as EDN.

    (edn {:verdict :accept, :body (.getBytes \"hi\\n\")})
    ;=> \"{:verdict :accept, :body \\\"hi\\\\n\\\"}\""
  [value]
  (binding [*print-length* nil
            *print-level* nil
            *print-namespace-maps* false]
    (in-ascii (pr-str (without-bytes value)))))
