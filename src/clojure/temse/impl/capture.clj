(ns temse.impl.capture
  "Files that hold what went over a milter's connection: hex dumps, captures of a network, or the
  bytes themselves."
  {:no-doc true}
  (:require
   [clojure.string :as string])
  (:import
   (java.io ByteArrayOutputStream)
   (java.net InetAddress)
   (java.nio BufferUnderflowException ByteBuffer ByteOrder)
   (temse.protocol Text)))

(set! *warn-on-reflection* true)

(defn- problem
  [& text]
  (ex-info (string/join text) {::problem true}))

;; ---- hex dumps

(defn- offsets?
  "Returns true if the lines begin with offsets, since the first does so with zeros."
  [line]
  (re-find #"^\s*(0x)?0{4,8}(:|\s\s)|^\s*0{6,8}\s" line))

(defn- line-hex
  "Returns [offset hex] of a line that begins with its offset."
  [line]
  (let [[_ offset colon data] (re-find #"^\s*(?:0x)?([0-9a-fA-F]+)(:?)\s*(.*)$" line)
        data (string/replace (or data "") #"\|.*$" "")
        hex (if (= ":" colon)
              (first (string/split data #"\s\s"))
              (first (string/split data #"\s{3,}")))]
    (when (and (= "" colon) (re-find #"^[0-9a-fA-F]{4}(\s|$)" data))
      (throw (problem "it shows words, whose bytes may be swapped: use hexdump -C, xxd or od -A x -t x1")))
    [(parse-long (str "0" offset)) hex offset]))

(defn- hex-bytes
  [hex]
  (let [digits (string/replace hex #"0x|[\s,:]" "")]
    (when-not (and (re-matches #"[0-9a-fA-F]*" digits) (even? (count digits)))
      (throw (problem "it is no hex dump, no capture file and no milter conversation")))
    (map #(unchecked-byte (Integer/parseInt (apply str %) 16)) (partition 2 digits))))

(defn- with-repeats
  "Adds the bytes of a line to those before; after a line * the last sixteen come again and again up to
  the offset."
  [{:keys [bytes repeat?] :as dump} line]
  (if (= "*" (string/trim line))
    (assoc dump :repeat? true)
    (let [[_ hex offset] (line-hex line)
          missing (if repeat? (- (Long/parseLong offset 16) (count bytes)) 0)]
      {:repeat? false
       :bytes (-> bytes
                  (into (take missing) (cycle (take-last 16 bytes)))
                  (into (hex-bytes hex)))})))

(defn hex-dump
  "Returns the bytes of a hex dump: of xxd, hexdump -C, od -A x -t x1 or Wireshark, or hex digits alone
  with or without spaces, commas and colons."
  ^bytes [text]
  (let [lines (remove string/blank? (string/split-lines text))]
    (byte-array
      (if (some-> (first lines) offsets?)
        (:bytes (reduce with-repeats {:bytes [], :repeat? false} lines))
        (hex-bytes text)))))

;; ---- capture files: frames

(defn- slice
  "Returns the next n bytes of a buffer as a buffer, and passes over them."
  ^ByteBuffer [^ByteBuffer buffer n]
  (when (< (.remaining buffer) (long n))
    (throw (BufferUnderflowException.)))
  (let [part (.order (.slice buffer (.position buffer) (int n)) (.order buffer))]
    (.position buffer (+ (.position buffer) (int n)))
    part))

(defn- unsigned
  ^long [^long n]
  (bit-and n 0xFFFFFFFF))

(defn- pcap-frames
  "Returns {:link :nanos :data} of each frame of a capture in the classic format."
  [^ByteBuffer file nanos-per-tick]
  (.position file 20)
  (let [link (bit-and (.getInt file) 0xFFFF)]
    (loop [frames []]
      (if (< (.remaining file) 16)
        frames
        (let [seconds (unsigned (.getInt file))
              ticks (unsigned (.getInt file))
              size (unsigned (.getInt file))
              _ (.getInt file)]
          (if (< (.remaining file) size)
            frames
            (recur (conj frames {:link link
                                 :nanos (+ (* 1000000000 seconds) (* (long nanos-per-tick) ticks))
                                 :data (slice file size)}))))))))

(defn- seconds-per-tick
  "Returns the option if_tsresol of an interface, as a fraction of a second (default: microseconds)."
  [^ByteBuffer options]
  (loop []
    (if (< (.remaining options) 4)
      1/1000000
      (let [code (.getShort options)
            size (bit-and (.getShort options) 0xFFFF)
            value (slice options (min (.remaining options) (* 4 (quot (+ size 3) 4))))]
        (cond
          (zero? code) 1/1000000
          (= 9 code) (let [resolution (bit-and (.get value) 0xFF)]
                       (if (< resolution 128)
                         (/ 1 (reduce *' (repeat resolution 10)))
                         (/ 1 (reduce *' (repeat (- resolution 128) 2)))))
          :else (recur))))))

(defn- pcapng-frames
  "Returns {:link :nanos :data} of each frame of a capture in the format pcapng."
  [^ByteBuffer file]
  (loop [interfaces [], frames []]
    (if (< (.remaining file) 12)
      frames
      (let [type (unsigned (.getInt file))]
        (when (= 0x0A0D0D0A type)
          (.order file (if (= 0x1A2B3C4D (unsigned (.getInt file (+ 4 (.position file)))))
                         (.order file)
                         (if (= ByteOrder/BIG_ENDIAN (.order file))
                           ByteOrder/LITTLE_ENDIAN
                           ByteOrder/BIG_ENDIAN))))
        (let [size (unsigned (.getInt file))]
          (if (or (< size 12) (< (+ 4 (.remaining file)) (- size 4)))
            frames
            (let [block (slice file (- size 12))]
              (.getInt file)
              (case type
                0x0A0D0D0A (recur [] frames)
                1 (let [link (bit-and (.getShort block) 0xFFFF)]
                    (.position block 8)
                    (recur (conj interfaces {:link link, :tick (seconds-per-tick block)}) frames))
                6 (let [{:keys [link tick]} (nth interfaces (.getInt block))
                        ticks (+ (bit-shift-left (unsigned (.getInt block)) 32) (unsigned (.getInt block)))
                        captured (unsigned (.getInt block))]
                    (.getInt block)
                    (recur interfaces (conj frames {:link link
                                                    :nanos (long (* 1000000000 tick ticks))
                                                    :data (slice block captured)})))
                (recur interfaces frames)))))))))

(defn- frames
  "Returns the frames of a capture file, or nil for any other file."
  [^bytes bytes]
  (when (<= 24 (alength bytes))
    (let [file (ByteBuffer/wrap bytes)
          little #(.order file ByteOrder/LITTLE_ENDIAN)]
      (case (unsigned (.getInt file 0))
        0xA1B2C3D4 (pcap-frames file 1000)
        0xA1B23C4D (pcap-frames file 1)
        0xD4C3B2A1 (pcap-frames (little) 1000)
        0x4D3CB2A1 (pcap-frames (little) 1)
        0x0A0D0D0A (pcapng-frames file)
        nil))))

;; ---- capture files: TCP segments

(defn- ip-packet
  "Returns the buffer of the IP packet in a frame, or nil."
  ^ByteBuffer [{:keys [link ^ByteBuffer data]}]
  (let [data (.order data ByteOrder/BIG_ENDIAN)
        from (fn [n]
               (when (< (long n) (.limit data))
                 (.position data (int n))
                 (slice data (.remaining data))))]
    (case (int link)
      1 (loop [at 12]
          (when (< (+ at 2) (.limit data))
            (case (bit-and (.getShort data at) 0xFFFF)
              (0x8100 0x88A8) (recur (+ at 4))
              (0x0800 0x86DD) (from (+ at 2))
              nil)))
      (0 108) (from 4)
      (12 101 228 229) (from 0)
      113 (from 16)
      276 (from 20)
      (throw (problem "it holds frames of link type " link "; Ethernet, loopback, Linux cooked and"
                      " raw IP can be read")))))

(defn- address-text
  [^ByteBuffer packet at size]
  (let [octets (byte-array size)]
    (.get packet (int at) octets)
    (.getHostAddress (InetAddress/getByAddress octets))))

(defn- tcp-segment
  "Returns {:from :to :sequence :syn? :ack? :payload :nanos} of the TCP segment in a frame, or nil."
  [{:keys [nanos] :as frame}]
  (when-let [packet (ip-packet frame)]
    (try
      (let [v6? (= 6 (bit-shift-right (bit-and (.get packet 0) 0xF0) 4))
            header (if v6? 40 (* 4 (bit-and (.get packet 0) 0x0F)))
            protocol (.get packet (if v6? 6 9))
            told (bit-and (.getShort packet (if v6? 4 2)) 0xFFFF)
            end (if (zero? told)
                  (.limit packet)
                  (min (.limit packet) (if v6? (+ 40 told) told)))
            fragment? (and (not v6?) (pos? (bit-and (.getShort packet 6) 0x3FFF)))]
        (when (and (= 6 protocol) (not fragment?))
          (let [port #(bit-and (.getShort packet (int %)) 0xFFFF)
                data (+ header (* 4 (bit-and (bit-shift-right (.get packet (int (+ header 12))) 4) 0x0F)))
                flags (.get packet (int (+ header 13)))
                payload (byte-array (max 0 (- end data)))
                [source target] (if v6? [8 24] [12 16])
                size (if v6? 16 4)]
            (.get packet (int data) payload)
            {:from [(address-text packet source size) (port header)]
             :to [(address-text packet target size) (port (+ header 2))]
             :sequence (.getInt packet (int (+ header 4)))
             :syn? (pos? (bit-and flags 2))
             :ack? (pos? (bit-and flags 16))
             :payload payload
             :nanos nanos})))
      (catch IndexOutOfBoundsException _
        nil))))

;; ---- reassembly

(defn- earliest
  "Returns the entry of those held that begins at or before the next byte. Sequence numbers wrap, so
  that they are compared by their distance."
  [held next]
  (first (filter (fn [[start]] (<= (unchecked-subtract-int (int start) (int next)) 0)) held)))

(defn- in-order
  "Takes a segment into one direction {:next :held} of a connection and returns [direction bytes]: the
  bytes that are in order now."
  [direction {:keys [sequence syn? ^bytes payload]}]
  (let [start (if syn? (unchecked-inc-int (int sequence)) sequence)
        released (ByteArrayOutputStream.)]
    (loop [next (if syn? start (:next direction start))
           held (cond-> (:held direction {}) (pos? (alength payload)) (assoc start payload))]
      (if-let [[from ^bytes bytes] (earliest held next)]
        (let [known (min (alength bytes) (unchecked-subtract-int (int next) (int from)))]
          (.write released bytes known (- (alength bytes) known))
          (recur (unchecked-add-int (int next) (- (alength bytes) known)) (dissoc held from)))
        [{:next next, :held held} (.toByteArray released)]))))

(defn- new-connection
  [id {:keys [from to syn? ack?]} port]
  {:id id
   :milter (cond
             port (first (filter #(= port (second %)) [to from]))
             (and syn? ack?) from
             :else to)
   :directions {}})

(defn- take-segment
  "Takes a segment into {:ids :connections :gone} and tells `on-bytes` what is in order now."
  [{:keys [ids connections] :as state} {:keys [from to syn? ack? payload nanos] :as segment} port on-bytes]
  (let [pair #{from to}
        known (connections pair)
        new? (or (nil? known) (and syn? (not ack?) (get-in known [:directions from])))
        {:keys [id milter] :as connection} (if new? (new-connection (inc (long ids)) segment port) known)]
    (if (or (nil? milter) (not (or syn? (pos? (count payload)))))
      state
      (let [[direction ^bytes bytes] (in-order (get-in connection [:directions from]) segment)]
        (when (pos? (alength bytes))
          (on-bytes id (first (disj pair milter)) (if (= from milter) :milter :mta) bytes nanos))
        (cond-> (assoc-in state [:connections pair] (assoc-in connection [:directions from] direction))
          new? (assoc :ids id)
          (and new? known) (update :gone conj known))))))

(defn- incomplete?
  [{:keys [directions]}]
  (some #(seq (:held %)) (vals directions)))

(defn tcp-bytes
  "Tells `on-bytes` what the two sides of each TCP connection in a capture file said, in order: the
  number of the connection, the MTA's [address port], :mta or :milter, bytes, and the time in
  nanoseconds. The side that has the port, or else the one that did not begin, is the milter.

  Returns the numbers of the connections of which a part is missing, or nil if the bytes are no
  capture file. Throws ex-info for frames of a kind that cannot be read."
  [bytes port on-bytes]
  (when-let [frames (frames bytes)]
    (let [{:keys [connections gone]} (reduce #(take-segment %1 %2 port on-bytes)
                                             {:ids 0, :connections {}, :gone []}
                                             (keep tcp-segment frames))]
      (into #{} (comp (filter incomplete?) (map :id)) (concat gone (vals connections))))))

;; ---- files without times and sides

(defn stream-bytes
  "Returns the bytes of a file that is a hex dump, or holds a milter's packets as they are.

  Throws ex-info that says what cannot be read."
  ^bytes [^bytes bytes]
  (if (and (pos? (alength bytes)) (zero? (aget bytes 0)))
    bytes
    (hex-dump (Text/decode bytes))))

(defn problem?
  "Returns true for the exceptions that say what cannot be read."
  [e]
  (::problem (ex-data e)))
