(ns temse.impl.capture.frames
  "Capture files, pcap and pcapng, as frames: one at a time, however long the file is.

  A frame is {:link :nanos :data :offset}: its link type, its time, its bytes as a buffer, and where it
  begins in the file. Damage is reported to a function of an offset and a text."
  {:no-doc true}
  (:require
   [temse.impl.capture.input :as input])
  (:import
   (java.nio ByteBuffer ByteOrder)))

(set! *warn-on-reflection* true)

(def ^:private largest
  "Bytes of the largest frame or block that is held in memory."
  1048576)

(defn- unsigned
  ^long [^long n]
  (bit-and n 0xFFFFFFFF))

(defn- slice
  "Returns the next n bytes of a buffer as a buffer, and passes over them; nil if there are fewer."
  ^ByteBuffer [^ByteBuffer buffer n]
  (when (<= 0 (long n) (.remaining buffer))
    (let [part (.order (.slice buffer (.position buffer) (int n)) (.order buffer))]
      (.position buffer (+ (.position buffer) (int n)))
      part)))

;; ---- pcap

(defn- read-pcap
  [input order nanos-per-tick on-frame on-damage]
  (if-let [header (input/buffer input 24 order)]
    (let [link (bit-and (.getInt header 20) 0xFFFF)]
      (loop []
        (let [at (input/offset input)
              header (input/buffer input 16 order)
              size (when header (unsigned (.getInt header 8)))
              data (when (and size (<= (long size) (long largest)))
                     (input/buffer input size order))]
          (cond
            data
            (do (on-frame {:link link
                           :nanos (+ (* 1000000000 (unsigned (.getInt header)))
                                     (* (long nanos-per-tick) (unsigned (.getInt header))))
                           :data data
                           :offset at})
                (recur))

            (= at (input/offset input))
            nil

            (and size (< (long largest) (long size)))
            (on-damage at (str "the frame announces " size " bytes, more than any network carries;"
                               " what follows it cannot be read"))

            :else
            (on-damage at "the file ends within this frame")))))
    (on-damage 0 "the file ends within its header")))

;; ---- pcapng
;;
;; A block is {:type :at :body}: its type, its offset, and its body as a buffer, nil for a type of which
;; nothing is wanted.

(defn- nanos-per-tick
  "Returns the option if_tsresol of an interface, as nanoseconds (default: microseconds)."
  [^ByteBuffer options]
  (loop []
    (let [header (slice options 4)
          code (if header (.getShort header) 0)
          size (if header (bit-and (.getShort header) 0xFFFF) 0)
          value (slice options (* 4 (quot (+ size 3) 4)))]
      (cond
        (or (zero? code) (nil? value)) 1000
        (and (= 9 code) (pos? size)) (let [resolution (bit-and (.get value 0) 0xFF)]
                                       (if (< resolution 128)
                                         (/ 1000000000 (reduce *' (repeat resolution 10)))
                                         (/ 1000000000 (reduce *' (repeat (- resolution 128) 2)))))
        :else (recur)))))

(defn- section-order
  "Returns the byte order of a section, from the beginning of its first block, or nil."
  [^bytes head]
  (when (= 12 (alength head))
    (case (unsigned (.getInt (ByteBuffer/wrap head) 8))
      0x1A2B3C4D ByteOrder/BIG_ENDIAN
      0x4D3C2B1A ByteOrder/LITTLE_ENDIAN
      nil)))

(def ^:private section-type 0x0A0D0D0A)
(def ^:private interface-type 1)
(def ^:private packet-type 6)

(defn- block-length
  "Returns [type size] of the block that a head of up to 12 bytes begins, or why there is none."
  [^bytes head order]
  (if (or (nil? order) (< (alength head) 12))
    (if (< (alength head) 12)
      "the file ends within this block"
      "the byte order of this section is unknown; what follows cannot be read")
    (let [buffer (.order (ByteBuffer/wrap head) order)
          type (unsigned (.getInt buffer))
          size (unsigned (.getInt buffer))]
      (if (or (< size 12) (pos? (rem size 4)))
        (str "the block announces a length of " size " bytes, which cannot be; what follows cannot be read")
        [type size]))))

(defn- body
  "Reads a block after its type and length. Returns its body, :ended where the file ends within it."
  [input size order wanted?]
  (let [whole? (and wanted? (<= (long size) (long largest)))
        body (if whole?
               (input/buffer input (- (long size) 12) order)
               (when (input/skip input (- (long size) 12)) :passed))]
    (if (and body (input/skip input 4)) body :ended)))

(defn- interface
  [^ByteBuffer body]
  (when (<= 8 (.remaining body))
    (let [link (bit-and (.getShort body) 0xFFFF)]
      (.position body 8)
      {:link link, :nanos-per-tick (nanos-per-tick body)})))

(defn- packet
  "Returns the frame in a block, or why there is none."
  [^ByteBuffer body interfaces at]
  (if (< (.remaining body) 20)
    "the block is too short for a packet; it is passed over"
    (let [number (unsigned (.getInt body))
          {:keys [link nanos-per-tick]} (get interfaces number)
          ticks (+ (bit-shift-left (unsigned (.getInt body)) 32) (unsigned (.getInt body)))
          captured (unsigned (.getInt body))
          _ (.getInt body)
          data (slice body captured)]
      (cond
        (nil? link) (str "the packet is of interface " number ", which the file does not describe; it is passed over")
        (nil? data) (str "the packet announces " captured " bytes, more than its block has; it is passed over")
        :else {:link link
               :nanos (.longValue ^Number (*' nanos-per-tick ticks))
               :data data
               :offset at}))))

(defn- read-pcapng
  [input on-frame on-damage]
  (loop [order nil, interfaces []]
    (let [at (input/offset input)
          head ^bytes (input/peeked input 12)
          section? (and (<= 4 (alength head)) (= section-type (.getInt (ByteBuffer/wrap head))))
          order (if section? (section-order head) order)
          length (block-length head order)
          [type size] (when (vector? length) length)
          content (when type
                    (input/skip input 8)
                    (body input size order (#{interface-type packet-type} type)))]
      (cond
        (zero? (alength head)) nil
        (string? length) (on-damage at length)
        (= :ended content) (on-damage at "the file ends within this block")
        section? (recur order [])
        (= :passed content) (recur order interfaces)
        (= interface-type type) (recur order (conj interfaces (interface content)))
        :else (let [frame (packet content interfaces at)]
                (if (string? frame)
                  (on-damage at frame)
                  (on-frame frame))
                (recur order interfaces))))))

;; ---- both

(defn reader
  "Returns a function that reads the frames of a capture file, of `on-frame` and `on-damage`, or nil if
  the file is none."
  [input]
  (let [magic ^bytes (input/peeked input 4)
        pcap (fn [order nanos-per-tick]
               #(read-pcap input order nanos-per-tick %1 %2))]
    (when (= 4 (alength magic))
      (case (unsigned (.getInt (ByteBuffer/wrap magic)))
        0xA1B2C3D4 (pcap ByteOrder/BIG_ENDIAN 1000)
        0xA1B23C4D (pcap ByteOrder/BIG_ENDIAN 1)
        0xD4C3B2A1 (pcap ByteOrder/LITTLE_ENDIAN 1000)
        0x4D3CB2A1 (pcap ByteOrder/LITTLE_ENDIAN 1)
        0x0A0D0D0A #(read-pcapng input %1 %2)
        nil))))
