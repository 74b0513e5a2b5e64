(ns temse.impl.capture.tcp
  "From the frames of a network to the bytes of TCP connections, in order."
  {:no-doc true}
  (:import
   (java.io ByteArrayOutputStream)
   (java.net InetAddress)
   (java.nio ByteBuffer ByteOrder)
   (java.util LinkedHashMap)))

(set! *warn-on-reflection* true)

;; ---- segments

(defn- rest-of
  "Returns what a buffer holds from an index on, or nil."
  ^ByteBuffer [^ByteBuffer data index]
  (when (< (long index) (.limit data))
    (.slice data (int index) (- (.limit data) (int index)))))

(defn- ethernet-payload
  [^ByteBuffer data]
  (loop [at 12]
    (when (< (+ at 2) (.limit data))
      (case (bit-and (.getShort data at) 0xFFFF)
        (0x8100 0x88A8) (recur (+ at 4))
        (0x0800 0x86DD) (rest-of data (+ at 2))
        nil))))

(def ^:private packet-readers
  "By link type, what returns the IP packet of a frame: Ethernet, loopback, raw IP, Linux cooked."
  (let [behind (fn [header] #(rest-of % header))]
    {1 ethernet-payload
     0 (behind 4), 108 (behind 4)
     12 (behind 0), 101 (behind 0), 228 (behind 0), 229 (behind 0)
     113 (behind 16), 276 (behind 20)}))

(defn readable?
  "Returns true for the link types whose frames can be read."
  [link]
  (contains? packet-readers link))

(defn- address-text
  [^ByteBuffer packet at size]
  (let [octets (byte-array size)]
    (.get packet (int at) octets)
    (.getHostAddress (InetAddress/getByAddress octets))))

(defn- tcp-segment
  "Returns the segment in an IP packet, or nil for other packets, fragments, and what goes to where it comes
  from. Throws IndexOutOfBoundsException where it is too short."
  [^ByteBuffer packet]
  (let [v6? (= 6 (bit-shift-right (bit-and (.get packet 0) 0xF0) 4))
        header (if v6? 40 (* 4 (bit-and (.get packet 0) 0x0F)))
        protocol (.get packet (if v6? 6 9))
        given (bit-and (.getShort packet (if v6? 4 2)) 0xFFFF)
        end (if (zero? given)
              (.limit packet)
              (min (.limit packet) (if v6? (+ 40 given) given)))
        fragment? (and (not v6?) (pos? (bit-and (.getShort packet 6) 0x3FFF)))]
    (when (and (= 6 protocol) (not fragment?) (<= 20 header))
      (let [port #(bit-and (.getShort packet (int %)) 0xFFFF)
            data (+ header (* 4 (bit-and (bit-shift-right (.get packet (int (+ header 12))) 4) 0x0F)))
            flags (.get packet (int (+ header 13)))
            flag? #(pos? (bit-and flags (long %)))
            payload (byte-array (max 0 (- end data)))
            [source target size] (if v6? [8 24 16] [12 16 4])
            from [(address-text packet source size) (port header)]
            to [(address-text packet target size) (port (+ header 2))]]
        (.get packet (int (min data end)) payload)
        (when (not= from to)
          {:from from
           :to to
           :sequence (.getInt packet (int (+ header 4)))
           :fin? (flag? 1)
           :syn? (flag? 2)
           :rst? (flag? 4)
           :ack? (flag? 16)
           :payload payload})))))

(defn segment
  "Returns the TCP segment in a frame of a link type that can be read, with its :nanos and :offset, or
  nil:
    {:from :to :sequence :fin? :syn? :rst? :ack? :payload}"
  [{:keys [link ^ByteBuffer data] :as frame}]
  (try
    (some-> ((packet-readers link) (.order data ByteOrder/BIG_ENDIAN))
            tcp-segment
            (merge (select-keys frame [:nanos :offset])))
    (catch IndexOutOfBoundsException _
      nil)))

;; ---- one direction
;;
;; A direction is {:origin :position :held :weight :fin}: the sequence number of its first byte, how
;; many bytes were in order, those that came too early by their positions, how many these are, and the
;; position of its end, as soon as that is known.

(defn- first-sequence
  "Returns the sequence number of a segment's first byte."
  ^long [{:keys [sequence syn?]}]
  (if syn? (unchecked-inc-int (int sequence)) (int sequence)))

(defn- direction
  [segment]
  {:origin (first-sequence segment), :position 0, :held (sorted-map), :weight 0})

(defn- position-of
  "Returns the position of a segment's first byte. Sequence numbers wrap, so that they are compared by
  their distance."
  ^long [{:keys [origin position]} segment]
  (let [next (unchecked-add-int (int origin) (unchecked-int position))]
    (+ (long position) (unchecked-subtract-int (int (first-sequence segment)) (int next)))))

(defn- hold
  [{:keys [held] :as direction} start ^bytes payload]
  (let [known (alength ^bytes (get held start (byte-array 0)))]
    (cond-> direction
      (< known (alength payload)) (-> (update :held assoc start payload)
                                      (update :weight + (- (alength payload) known))))))

(defn- in-order
  "Takes a segment into a direction. Returns [direction bytes]: the bytes that are in order now."
  [direction {:keys [^bytes payload fin?] :as segment}]
  (let [start (position-of direction segment)
        released (ByteArrayOutputStream.)]
    (loop [{:keys [position held] :as direction} (cond-> (hold direction start payload)
                                                   fin? (assoc :fin (+ start (alength payload))))]
      (let [[start ^bytes bytes] (first held)]
        (if (and start (<= (long start) (long position)))
          (let [known (min (alength bytes) (- (long position) (long start)))]
            (.write released bytes known (- (alength bytes) known))
            (recur (-> direction
                       (update :position + (- (alength bytes) known))
                       (update :held dissoc start)
                       (update :weight - (alength bytes)))))
          [direction (.toByteArray released)])))))

(defn- incomplete?
  [{:keys [held position fin]}]
  (or (seq held) (and fin (< (long position) (long fin)))))

;; ---- connections
;;
;; A connection is {:id :milter :directions :kept :weight}: the directions by their senders, the bytes
;; kept by the receiver of what they carry, estimated, and the total of both; or {:over? true}.

(def ^:private most-connections
  "Connections that are followed at the same time."
  1000)

(def ^:private most-bytes
  "Bytes that they take together."
  67108864)

(defn- milter-end
  "Returns which end of a connection is the milter, by its first segment: the one that has the port, or
  without a port the one that did not begin; nil if neither has the port."
  [{:keys [from to syn? ack?]} port]
  (cond
    port (first (filter #(= port (second %)) [to from]))
    (and syn? ack?) from
    :else to))

(defn- side
  [{:keys [milter]} from]
  (if (= from milter) :milter :mta))

(defn- complete?
  "Returns true if both directions have come to their ends."
  [{:keys [directions]}]
  (and (= 2 (count directions))
       (every? #(and (:fin %) (not (incomplete? %))) (vals directions))))

(defn- begins?
  "Returns true if a segment begins a connection, rather than going on with one that is known."
  [known {:keys [from syn? ack? payload]}]
  (if known
    (and syn? (not ack?) (or (:over? known) (contains? (:directions known) from)))
    (or syn? (pos? (count payload)))))

(defn- with-segment
  "Takes a segment into a connection."
  [{:keys [id milter] :as connection} {:keys [from] :as segment} on-bytes]
  (let [[direction ^bytes bytes] (in-order (get-in connection [:directions from] (direction segment)) segment)
        connection (cond-> (assoc-in connection [:directions from] direction)
                     (pos? (alength bytes))
                     (assoc :kept (on-bytes id (first (disj (:pair connection) milter)) (side connection from)
                                            bytes segment)))]
    (assoc connection :weight (transduce (map :weight) + (:kept connection) (vals (:directions connection))))))

(defn follower
  "Returns a function of a segment, or of :end, that follows the connections of a network: at most 1000
  of them and 64 MB. Each has an id. The end with the `port`, or without one the end that did not
  begin, is the milter.

  Calls on-bytes of an id, the MTA's [address port], :mta or :milter, bytes that are in order, and
  their last segment; it returns about how many bytes it keeps of the connection. Calls on-end of an id, the
  sides of which a part is missing, and how it ended: :closed, :open where the capture ends before, or
  :dropped where it would have taken too much."
  [port on-bytes on-end]
  (let [^LinkedHashMap known (LinkedHashMap. 16 0.75 true)
        ids (volatile! 0)
        total (volatile! 0)
        end (fn [{:keys [id directions weight over?] :as connection} how]
              (when-not over?
                (vswap! total - weight)
                (on-end id
                        (for [[from direction] directions
                              :when (incomplete? direction)]
                          (side connection from))
                        how)))
        drop-one (fn [pair]
                   (end (.remove known pair) :dropped))
        eldest #(key (first known))
        heaviest #(key (apply max-key (comp :weight val) known))]
    (fn [{:keys [from to rst?] :as segment}]
      (if (= :end segment)
        (doseq [connection (sort-by :id (remove :over? (vals known)))]
          (end connection :open))
        (let [pair #{from to}
              before (.get known pair)
              new? (begins? before segment)
              milter (if new? (milter-end segment port) (:milter before))]
          (when milter
            (when (and new? before)
              (end before :closed))
            (let [connection (if new?
                               {:id (vswap! ids inc), :pair pair, :milter milter, :directions {}, :kept 0, :weight 0}
                               before)
                  {:keys [weight] :as now} (with-segment connection segment on-bytes)]
              (vswap! total + (- (long weight) (long (:weight connection))))
              (if (or rst? (complete? now))
                (do (end now :closed)
                    (.put known pair {:over? true, :weight 0}))
                (.put known pair now)))
            (when (< (long most-connections) (.size known))
              (drop-one (eldest)))
            (when (< (long most-bytes) (long @total))
              (drop-one (heaviest)))))))))
