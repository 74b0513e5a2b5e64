(ns temse.impl.capture.hex
  "Hex dumps: of xxd, hexdump -C, od -t x1 or Wireshark, or digits alone."
  {:no-doc true}
  (:require
   [clojure.string :as string])
  (:import
   (clojure.lang ExceptionInfo)
   (java.io ByteArrayOutputStream InputStream)))

(set! *warn-on-reflection* true)

(def ^:private longest-line 65536)

(def ^:private longest-repeat
  "Bytes for which one line * may stand."
  16777216)

(defn- problem
  [& text]
  (ex-info (string/join text) {::problem true}))

(defn- dump-lines
  "Returns what `next-line` reads: a stream, how many lines have ended, and the number of the last one
  read."
  [stream]
  {:stream stream, :ended (volatile! 0), :number (volatile! 1)})

(defn- next-line
  "Returns the next line, or the next part of a long one; nil at the end."
  [{:keys [^InputStream stream ended number]}]
  (let [line (StringBuilder.)
        this (inc (long @ended))]
    (loop []
      (let [octet (if (= (long longest-line) (.length line)) -1 (.read stream))]
        (if (or (neg? octet) (= 10 octet))
          (when-not (and (neg? octet) (zero? (.length line)))
            (vreset! number this)
            (when (= 10 octet)
              (vswap! ended inc))
            (str line))
          (do (.append line (char octet))
              (recur)))))))

;; ---- digits

(defn- separator?
  [c]
  (or (Character/isWhitespace (char c)) (= \, c) (= \: c)))

(defn- write-digits
  "Writes the bytes of hex digits. `half` is a digit that came before without its second one, or -1;
  so is what is returned."
  ^long [^ByteArrayOutputStream out ^String text ^long half]
  (loop [i 0, half half]
    (if (= i (.length text))
      half
      (let [c (.charAt text i)
            digit (Character/digit c 16)]
        (cond
          (separator? c) (recur (inc i) half)
          (and (#{\x \X} c) (zero? half)) (recur (inc i) -1)
          (neg? digit) (throw (problem (pr-str (str c)) " is no hex digit"))
          (neg? half) (recur (inc i) digit)
          :else (do (.write out (+ (* 16 half) digit))
                    (recur (inc i) -1)))))))

(defn- whole
  "Throws where a byte lacks its second digit."
  [half]
  (when-not (neg? (long half))
    (throw (problem "a byte has two digits, and the last one has one"))))

(defn- read-digits
  "Reads a dump of digits alone, of which the first line is given."
  [lines line on-bytes]
  (loop [line line, half -1]
    (if line
      (let [out (ByteArrayOutputStream.)
            half (write-digits out line half)]
        (on-bytes (.toByteArray out))
        (recur (next-line lines) half))
      (whole half))))

;; ---- lines with offsets

(defn- offsets?
  "Returns true if the lines begin with offsets, since the first does so with zeros."
  [line]
  (re-find #"^\s*(0x)?0{4,8}(:|\s\s)|^\s*0{6,8}\s" line))

(defn- line-hex
  "Returns [offset hex] of a line that begins with its offset, both texts."
  [line]
  (let [[_ offset colon data] (re-find #"^\s*+(?:0x)?([0-9a-fA-F]{1,15})(:|(?=\s|$))\s*+(.*)$" line)
        data (string/replace (or data "") #"\|.*$" "")]
    (when (or (nil? offset) (= (long longest-line) (count line)))
      (throw (problem "it does not begin with an offset, as the first line does")))
    (when (and (= "" colon) (re-find #"^[0-9a-fA-F]{4}(\s|$)" data))
      (throw (problem "it shows words, whose bytes may be swapped: use hexdump -C, xxd or od -A x -t x1")))
    [offset (first (string/split data (if (= ":" colon) #"\s\s" #"\s{3,}")))]))

(defn- row-bytes
  ^bytes [hex]
  (let [out (ByteArrayOutputStream.)]
    (whole (write-digits out hex -1))
    (.toByteArray out)))

(defn- number
  "Returns a number of digits, or nil where a digit is too large."
  [digits radix]
  (when (every? #(<= 0 (Character/digit (char %) (int radix))) digits)
    (Long/parseLong digits (int radix))))

(defn- radix-of
  "Returns in which radix an offset counts the bytes that came before it, or nil."
  [offset before]
  (first (filter #(= before (number offset %)) [16 10 8])))

(defn- repeated
  "Returns the n bytes for which a line * stands: the last row again and again."
  ^bytes [^bytes row n]
  (when-not (and row (<= 0 (long n) (long longest-repeat)))
    (throw (problem "the bytes for which the line * stands are unknown")))
  (let [bytes (byte-array n)]
    (dotimes [i n]
      (aset bytes i (aget row (rem i (alength row)))))
    bytes))

(defn- take-row
  "Takes a line into {:before :row :repeat? :radix}: how many bytes came before, the last row, true after
  a line *, and how offsets are written, as soon as it is known. Each packet that Wireshark has
  dumped begins with offset 0 again."
  [{:keys [before row repeat? radix] :as dump} line on-bytes]
  (if (= "*" (string/trim line))
    (assoc dump :repeat? true)
    (let [[offset hex] (line-hex line)
          before (if (re-matches #"0+" offset) 0 before)
          found (or radix (radix-of offset before))
          radix (when (pos? (long before)) found)
          missing (- (long (or (number offset (or found 16)) -1)) (long before))
          bytes (row-bytes hex)]
      (when-not (or repeat? (zero? missing))
        (throw (problem "its offset is " offset ", which is not that of the bytes before it: lines are missing")))
      (when repeat?
        (on-bytes (repeated row missing)))
      (on-bytes bytes)
      {:before (+ (long before) missing (alength bytes))
       :row (if (pos? (alength bytes)) bytes row)
       :repeat? false
       :radix radix})))

(defn- read-rows
  [lines line on-bytes]
  (loop [line line, dump {:before 0, :row nil, :repeat? false, :radix nil}]
    (when line
      (let [dump (if (string/blank? line) dump (take-row dump line on-bytes))]
        (recur (next-line lines) dump)))))

;; ---- both

(defn read-dump
  "Gives the bytes of a hex dump to `on-bytes`, in pieces. What cannot be read ends it: `on-damage` is
  called with where, such as \"line 3\", and why."
  [stream on-bytes on-damage]
  (let [lines (dump-lines stream)
        line (first (remove #(and % (string/blank? %)) (repeatedly #(next-line lines))))]
    (try
      ((if (and line (offsets? line)) read-rows read-digits) lines line on-bytes)
      (catch ExceptionInfo e
        (when-not (::problem (ex-data e))
          (throw e))
        (on-damage (str "line " @(:number lines)) (ex-message e))))))
