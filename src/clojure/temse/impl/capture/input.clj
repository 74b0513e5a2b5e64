(ns temse.impl.capture.input
  "A file that is read once, from its beginning to its end, and knows where it is."
  {:no-doc true}
  (:import
   (java.io BufferedInputStream InputStream)
   (java.nio ByteBuffer)))

(set! *warn-on-reflection* true)

(defn input
  "Returns what the other functions read from a stream."
  [^InputStream stream]
  {:stream (BufferedInputStream. stream 65536), :offset (volatile! 0)})

(defn offset
  "Returns how many bytes have been read or passed over."
  ^long [{:keys [offset]}]
  @offset)

(defn peeked
  "Returns the next n bytes, fewer at the end of the file, and leaves them there."
  ^bytes [{:keys [^BufferedInputStream stream]} n]
  (.mark stream (int n))
  (let [bytes (.readNBytes stream (int n))]
    (.reset stream)
    bytes))

(defn taken
  "Returns the next n bytes, fewer at the end of the file."
  ^bytes [{:keys [^BufferedInputStream stream offset]} n]
  (let [bytes (.readNBytes stream (int n))]
    (vswap! offset + (alength bytes))
    bytes))

(defn buffer
  "Returns the next n bytes as a buffer of a byte order, or nil where the file ends before."
  ^ByteBuffer [input n order]
  (let [bytes (taken input n)]
    (when (= (alength bytes) (long n))
      (.order (ByteBuffer/wrap bytes) order))))

(defn skip
  "Passes over n bytes. Returns false where the file ends before."
  [{:keys [^BufferedInputStream stream offset]} n]
  (loop [left (long n)]
    (let [skipped (long (if (pos? left)
                          (alength (.readNBytes stream (int (min left 65536))))
                          0))]
      (vswap! offset + skipped)
      (cond
        (zero? left) true
        (zero? skipped) false
        :else (recur (- left skipped))))))
