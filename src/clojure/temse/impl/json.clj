(ns temse.impl.json
  "Writes data as JSON (RFC 8259) in ASCII, on one line."
  {:no-doc true}
  (:import
   (clojure.lang Named)
   (java.util Map)
   (temse.logging.internal JsonText)))

(set! *warn-on-reflection* true)

(defn- write-text
  [json text]
  (JsonText/append json text Integer/MAX_VALUE))

(declare ^:private write)

(defn- write-all
  "Writes things with commas between them."
  [^StringBuilder json things write-one]
  (reduce (fn [comma? thing]
            (when comma?
              (.append json \,))
            (write-one thing)
            true)
          false
          things))

(defn- write-map
  [^StringBuilder json m]
  (.append json \{)
  (write-all json m (fn [[k v]]
                      (write-text json (if (instance? Named k) (name k) (str k)))
                      (.append json \:)
                      (write json v)))
  (.append json \}))

(defn- write-number
  [^StringBuilder json x]
  (.append json (cond
                  (int? x) (str x)
                  (Double/isFinite (double x)) (str (double x))
                  :else "null")))

(defn- write
  [^StringBuilder json x]
  (cond
    (nil? x) (.append json "null")
    (string? x) (write-text json x)
    (instance? Named x) (write-text json (name x))
    (boolean? x) (.append json (str x))
    (number? x) (write-number json x)
    (instance? Map x) (write-map json x)
    (coll? x) (do (.append json \[)
                  (write-all json x #(write json %))
                  (.append json \]))
    :else (write-text json (str x))))

(defn text
  "Returns nil, booleans, numbers, strings, keywords, maps and collections of these as JSON. Keywords
  become their names, anything else its text."
  ^String [x]
  (let [json (StringBuilder.)]
    (write json x)
    (str json)))
