(ns temse.fuzz.support
  "What several fuzz targets use: properties, and inputs taken apart."
  (:import
   (java.util Arrays)
   (temse.protocol MilterException Text)))

(set! *warn-on-reflection* true)

(defmacro must
  "Throws an AssertionError, with values that explain it, unless the property holds."
  [property & values]
  `(when-not ~property
     (throw (AssertionError. (str '~property " does not hold: " (pr-str ~@values))))))

(defmacro allowing
  "Returns the value of the body, or nil if it throws a MilterException of one of the categories."
  [categories & body]
  `(try
     ~@body
     (catch MilterException e#
       (must (contains? ~categories (:milter/error (ex-data e#))) (ex-message e#))
       nil)))

(defn comparable
  "Returns data with its byte arrays as vectors."
  [x]
  (cond
    (bytes? x) (vec x)
    (map? x) (update-vals x comparable)
    (sequential? x) (mapv comparable x)
    :else x))

(defn from
  "Returns the bytes of an input from an index on."
  ^bytes [^bytes input index]
  (Arrays/copyOfRange input (int (min (long index) (alength input))) (alength input)))

(defn octet
  "Returns a byte of an input as a number from 0 to 255, 0 behind its end."
  ^long [^bytes input index]
  (if (< (long index) (alength input))
    (bit-and 0xFF (aget input (int index)))
    0))

(defn text
  "Returns an input as text, without loss."
  ^String [^bytes input]
  (Text/decode input))
