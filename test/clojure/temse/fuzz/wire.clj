(ns temse.fuzz.wire
  "Fuzz targets: the bytes of the protocol."
  (:require
   [clojure.string :as string]
   [temse.fuzz.support :refer [allowing comparable from must octet]]
   [temse.impl.recording.exchange :as exchange])
  (:import
   (java.nio ByteBuffer)
   (java.util ArrayList Arrays Collection EnumSet List)
   (temse.protocol Action ActionCodec ActionFlag Agreement Budget Event EventCodec EventType MacroStage MilterException Negotiation Offer Packet PacketDecoder ProtocolFlag Request)))

(set! *warn-on-reflection* true)

;; ---- packets

(def ^:private largest-payload 2048)

(defn- read-packets
  "Returns the packets in pieces of a stream, the category of what ends them or nil, and whether a packet is
  unfinished. What is unfinished takes memory of the budget that follows the bytes that have come."
  [pieces]
  (let [budget (Budget. Long/MAX_VALUE)
        decoder (PacketDecoder. largest-payload budget)
        packets (ArrayList.)
        received (volatile! 0)
        problem (try
                  (doseq [^bytes piece pieces
                          :let [buffer (ByteBuffer/wrap piece)]]
                    (vswap! received + (alength piece))
                    (loop []
                      (when-let [packet (.next decoder buffer)]
                        (.add packets packet)
                        (recur)))
                    (must (not (.hasRemaining buffer)))
                    (must (<= (.taken budget) (* 2 (long @received))) (.taken budget)))
                  nil
                  (catch MilterException e
                    (:milter/error (ex-data e))))
        midway? (.midPacket decoder)]
    (.release decoder)
    (must (zero? (.taken budget)) (.taken budget))
    [packets problem (and (nil? problem) midway?)]))

(defn- pieces
  "Returns a stream in pieces whose sizes are numbers of 1 to 16, in turn."
  [^bytes stream sizes]
  (loop [from 0
         sizes (cycle sizes)
         done []]
    (if (= from (alength stream))
      done
      (let [to (min (alength stream) (+ from (long (first sizes))))]
        (recur to (rest sizes) (conj done (Arrays/copyOfRange stream from to)))))))

(defn packets
  "A stream, after a byte with two sizes of its pieces. However it is cut, the packets are the same, and
  written they are the stream again."
  [input]
  (let [stream (from input 1)
        sizes [(inc (bit-and 15 (octet input 0))) (inc (bit-shift-right (octet input 0) 4))]
        [whole problem midway? :as read-at-once] (read-packets [stream])
        [cut & more] (read-packets (pieces stream sizes))
        bytes-of (fn [packets] (mapv #(vec (.toBytes ^Packet %)) packets))
        written (into [] cat (bytes-of whole))]
    (must (= (rest read-at-once) more) read-at-once more)
    (must (= (bytes-of whole) (bytes-of cut)))
    (must (contains? #{nil :malformed-packet :packet-too-large} problem) problem)
    (must (= written (take (count written) stream)))
    (must (or problem midway? (= (count written) (alength stream))))))

;; ---- events and actions

(defn- packet
  ^Packet [^bytes input]
  (Packet. (byte (aget input 0)) (from input 1)))

(defn- canonical-names?
  "Returns true unless an event names macros with braces or without a letter, which are written otherwise."
  [{:keys [macros definitions]}]
  (not-any? #(or (= "" %) (= \{ (first %)))
            (concat (keys definitions) (mapcat val macros))))

(defn events
  "A packet of an MTA. An event that was decoded can be encoded, viewed and recorded, and is the same then."
  [^bytes input]
  (when (pos? (alength input))
    (when-let [event (allowing #{:malformed-packet} (EventCodec/decode (packet input)))]
      (let [again (EventCodec/decode (EventCodec/encode event))]
        (must (or (= (comparable event) (comparable again)) (not (canonical-names? event))) event again))
      (must (string? (str (Event/view (EventCodec/type (packet input)) event))))
      (exchange/check 0 {:event (cond-> event
                                  (= :disconnect (:event event)) (assoc :reason :new-connection))
                         :response []}))))

(defn actions
  "A packet of a milter. An action that was decoded can be viewed and recorded; if it may be sent, it is the
  same when it arrives, but for enhanced codes that a reply gets which needs one, or that its text begins with,
  parameters of which there are none, and the line breaks of a value or text, which are LF."
  [^bytes input]
  (when (pos? (alength input))
    (when-let [action (allowing #{:malformed-packet} (ActionCodec/decode (packet input)))]
      (when-not (= :progress (:action action))
        (must (string? (str (Action/view action)))))
      (exchange/check 0 {:event {:event :end-of-message}, :response [action]})
      (when (allowing #{:bad-action} (ActionCodec/check action) true)
        (let [sent (ActionCodec/packets action)
              bare #(cond-> %
                      (empty? (:parameters %)) (dissoc :parameters)
                      (:value %) (update :value string/replace "\r\n" "\n")
                      (:text %) (update :text string/replace "\r\n" "\n"))
              bare #(cond-> (bare %)
                      (and (:text %) (not (:enhanced-code action)))
                      (-> (dissoc :enhanced-code)
                          (update :text string/replace #"(?m)^(?:[245]\.\d{1,3}\.\d{1,3}(?: |$))+" "")))
              again (mapv (comp bare #(ActionCodec/decode %)) sent)]
          (if (bytes? (:body action))
            (must (= (vec (:body action)) (vec (mapcat :body again))))
            (must (= [(comparable (bare action))] (comparable again)) action again)))))))

;; ---- negotiation

(defn- chosen
  "Returns the values of an enum whose bits are set in a number."
  ^Collection [values bits]
  (keep-indexed #(when (bit-test (long bits) %1) %2) values))

(defn- request
  "Returns what a milter asks for by the bytes of an input, nil where that is not to be had."
  ^Request [input]
  (let [bits #(bit-or (octet input %) (bit-shift-left (octet input (inc (long %))) 8))
        events (chosen (EventType/values) (bits 0))
        switches (octet input 8)
        builder (-> (Request/builder)
                    (.events ^Collection (remove #{EventType/OPTIONS} events))
                    (.optionalEvents (chosen (EventType/values) (bits 2)))
                    (.noReplyEvents (chosen (EventType/values) (bits 4)))
                    (.actions ^Collection (chosen (ActionFlag/values) (octet input 6)))
                    (.optionalActions (chosen (ActionFlag/values) (bits 6)))
                    (.leadingSpace (bit-test switches 0))
                    (.rejectedRecipients (bit-test switches 1)))]
    (doseq [^MacroStage stage (chosen (MacroStage/values) (octet input 9))]
      (.macros builder stage ^List ["i" "{auth_authen}"]))
    (try
      (.build builder)
      (catch IllegalArgumentException _)
      (catch MilterException _))))

(defn negotiation
  "Ten bytes of wishes, and an offer. What is agreed was offered, and the milter gets what it needs."
  [^bytes input]
  (when-let [request (request input)]
    (when-let [event (allowing #{:malformed-packet} (EventCodec/decode (Packet. (byte (int \O)) (from input 10))))]
      (let [offer (Offer/of event)
            largest (if (bit-test (octet input 8) 2) 300000 65535)]
        (when-let [^Agreement agreement (allowing #{:version-unsupported :events-refused :actions-refused}
                                          (Negotiation/agree offer request largest))]
          (let [answer (EventCodec/decode (.packet agreement))
                beyond? (fn [agreed offered] (not (zero? (bit-and (long agreed) (bit-not (long offered))))))]
            (must (not (beyond? (.actionMask agreement) (.effectiveActions offer))))
            (must (not (beyond? (.protocolMask agreement) (.effectiveProtocol offer))))
            (must (<= 2 (.version agreement) 6))
            (must (= (.version agreement) (:version answer)))
            (must (= (Integer/toUnsignedLong (.protocolMask agreement)) (:protocol-mask answer)))
            (must (.containsAll (.actions agreement) (.actions request)))
            (must (or (= 65535 largest) (not (.has agreement ProtocolFlag/PAYLOAD_1M))))
            (doseq [^EventType type (EnumSet/allOf EventType)]
              (must (not (and (.handles agreement type) (.suppresses agreement type))) type)
              (must (or (.handles agreement type)
                        (not (contains? (.events request) type))
                        (contains? (.optionalEvents request) type))
                    type))
            (must (.isEmpty (Negotiation/missing agreement request)) (str (Negotiation/missing agreement request)))))))))
