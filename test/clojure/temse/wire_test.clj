(ns temse.wire-test
  "Bytes to maps and back: the golden files that the Java tests read, too, and properties."
  (:require
   [clojure.edn :as edn]
   [clojure.java.io :as io]
   [clojure.string :as str]
   [clojure.test :refer [deftest is testing]]
   [clojure.test.check.clojure-test :refer [defspec]]
   [clojure.test.check.generators :as gen]
   [clojure.test.check.properties :as prop]
   [temse.wire-generators :as g])
  (:import
   (java.io ByteArrayOutputStream)
   (java.nio ByteBuffer)
   (java.util Collection List Random)
   (temse.protocol ActionCodec ActionFlag Agreement EventCodec EventType MacroStage MilterException Negotiation Offer Packet PacketDecoder Phase Request Text)))

(set! *warn-on-reflection* true)

(def ^:private limit (* 2 1024 1024))

(def ^:private largest-payload 65535)

;; bytes

(defn- unhex ^bytes [hex]
  (byte-array (map #(unchecked-byte (Integer/parseInt % 16)) (re-seq #"\S+" hex))))

(defn- hex [bytes]
  (str/join " " (map #(format "%02X" %) bytes)))

(defn- golden [file]
  (edn/read-string {:readers {'wire/bytes unhex}} (slurp (io/resource (str "wire/" file)))))

(defn- packets
  "Returns the packets of the pieces of a stream, fed one after the other."
  [pieces]
  (let [decoder (PacketDecoder. (int limit))]
    (into []
          (mapcat (fn [^bytes piece]
                    (let [input (ByteBuffer/wrap piece)]
                      (loop [found []]
                        (if-some [packet (.next decoder input)]
                          (recur (conj found packet))
                          found)))))
          pieces)))

(defn- packet ^Packet [hex]
  (let [found (packets [(unhex hex)])]
    (assert (= 1 (count found)) hex)
    (first found)))

(defn- frames ^bytes [packets]
  (let [stream (ByteArrayOutputStream.)]
    (doseq [^Packet packet packets]
      (.writeBytes stream (.toBytes packet)))
    (.toByteArray stream)))

(defn- same? [a b]
  (= (g/comparable a) (g/comparable b)))

(defn- payload [^Packet packet]
  (vec (.payload packet)))

;; golden bytes

(deftest ^{:conformance ["W1" "F10" "F13" "F14" "F18" "F19" "F20" "F21" "F22"]}
  golden-packets-of-an-mta-are-their-events
  (doseq [{:keys [doc event decode-only] wire :hex} (golden "events.edn")]
    (testing doc
      (is (same? event (EventCodec/decode (packet wire))))
      (when-not decode-only
        (is (= wire (hex (.toBytes (EventCodec/encode event)))))))))

(deftest ^{:conformance ["W1" "F44" "F48" "F49" "F50" "F51" "F57"]}
  golden-packets-of-a-filter-are-their-actions
  (doseq [{:keys [doc action decode-only] wire :hex} (golden "actions.edn")]
    (testing doc
      (is (same? action (ActionCodec/decode (packet wire))))
      (when-not decode-only
        (is (= wire (hex (frames (ActionCodec/packets action)))))))))

(deftest ^{:conformance ["W4" "W5" "F23" "F54"]}
  malformed-bytes-are-refused
  (doseq [{:keys [doc from error] wire :hex} (golden "malformed.edn")]
    (testing doc
      (is (= error
             (try
               (let [^Packet received (first (packets [(unhex wire)]))]
                 (if (= :filter from)
                   (ActionCodec/decode received)
                   (EventCodec/decode received)))
               (catch MilterException e
                 (:milter/error (ex-data e)))))))))

(defn- request ^Request [wanted]
  (let [event-types #(mapv (fn [k] (EventType/ofKeyword k)) (get wanted %))
        flags #(mapv (fn [k] (ActionFlag/ofKeyword k)) (get wanted %))
        builder (doto (Request/builder)
                  (.events ^Collection (event-types :events))
                  (.optionalEvents (event-types :optional-events))
                  (.noReplyEvents (event-types :no-reply-events))
                  (.actions ^Collection (flags :actions))
                  (.optionalActions (flags :optional-actions))
                  (.rejectedRecipients (boolean (:rejected-recipients wanted)))
                  (.leadingSpace (boolean (:leading-space wanted))))]
    (doseq [[stage names] (:macros wanted)]
      (.macros builder (MacroStage/ofKeyword stage) ^List names))
    (.build builder)))

(deftest ^{:conformance ["F2" "F3" "F4" "F5" "F6" "F7" "F8" "F9" "F11"]}
  golden-offers-get-their-answers
  (doseq [{:keys [doc offer answer refused events actions] wanted :request}
          (golden "negotiation.edn")]
    (testing doc
      (let [agree (fn ^Agreement []
                    (Negotiation/agree (Offer/of (EventCodec/decode (packet offer)))
                      (request wanted)))]
        (if refused
          (is (= refused
                 (try
                   (agree)
                   (catch MilterException e
                     (:milter/error (ex-data e))))))
          (let [^Agreement agreement (agree)]
            (is (= answer (hex (.toBytes (.packet agreement)))))
            (when events
              (is (= events (set (map #(.keyword ^EventType %) (.events agreement))))))
            (when actions
              (is (= actions (set (map #(.keyword ^ActionFlag %) (.actions agreement))))))))))))

;; properties

(defspec ^{:conformance ["W8" "W9"]} every-event-makes-the-round-trip
  1000
  (prop/for-all [event g/any-event]
    (let [[received :as all] (packets [(.toBytes (EventCodec/encode event))])]
      (and (= 1 (count all))
           (same? event (EventCodec/decode received))))))

(defspec ^{:conformance ["W8" "W9"]} every-action-makes-the-round-trip
  1000
  (prop/for-all [action g/any-action]
    (let [[received :as all] (packets [(frames (ActionCodec/packets action))])]
      (and (= 1 (count all))
           (same? action (ActionCodec/decode received))))))

(defspec ^{:conformance ["W8"]} every-text-makes-the-round-trip
  1000
  (prop/for-all [bytes gen/bytes]
    (= (vec bytes) (vec (Text/encodeBytes (Text/decode bytes))))))

(defspec ^{:conformance ["W2" "W3"]} packets-are-the-same-wherever-the-stream-is-split
  100
  (prop/for-all [events (gen/vector g/any-event 1 5)]
    (let [sent (mapv #(EventCodec/encode %) events)
          stream (frames sent)
          whole (map payload sent)]
      (and (= whole (map payload (packets (map #(byte-array [%]) stream))))
           (every? (fn [at]
                     (let [[a b] (split-at at stream)]
                       (= whole (map payload (packets [(byte-array a) (byte-array b)])))))
                   (range (inc (alength stream))))))))

(defspec ^{:conformance ["W11" "F43"]} bodies-arrive-whole-in-full-packets
  50
  (prop/for-all [sizes (gen/vector (gen/one-of [(gen/choose 0 10)
                                                (gen/elements [65534 65535 65536 131070])
                                                (gen/choose 0 200000)])
                         0 4)
                 seed gen/large-integer]
    (let [random (Random. seed)
          pieces (mapv (fn [size]
                         (let [piece (byte-array size)]
                           (.nextBytes random piece)
                           piece))
                       sizes)
          sent (mapv payload (ActionCodec/packets {:action :change-body :body pieces}))]
      (and (= (into [] cat pieces) (into [] cat sent))
           (every? #(= largest-payload (count %)) (butlast sent))
           (<= (count (peek sent)) largest-payload)
           (or (= 1 (count sent)) (pos? (count (peek sent))))))))

(defn- refusal-or-value
  "Returns what f returns, or the category if it throws one of our exceptions; others fly."
  [f]
  (try
    (f)
    (catch MilterException e
      (:milter/error (ex-data e)))))

(def ^:private any-packet
  (gen/let [code (gen/one-of [(gen/elements (seq "ODCHMRTLNBEAQKUcartdyspe+2-bqhimf4l"))
                              (gen/fmap char (gen/choose 0 255))])
            payload gen/bytes]
    (Packet. (unchecked-byte (int code)) payload)))

(def ^:private damaged-packet
  (gen/let [^Packet valid (gen/one-of [(gen/fmap #(EventCodec/encode %) g/any-event)
                                       (gen/fmap (comp first #(ActionCodec/packets %)) g/any-action)])
            at gen/nat
            new-byte gen/byte
            cut gen/nat]
    (let [bytes (vec (.payload valid))
          changed (if (< at (count bytes)) (assoc bytes at new-byte) bytes)]
      (Packet. (.code valid) (byte-array (drop-last cut changed))))))

(defspec any-packet-is-a-map-or-malformed
  3000
  (prop/for-all [received (gen/one-of [any-packet damaged-packet])]
    (every? #(or (map? %) (= :malformed-packet %))
            [(refusal-or-value #(EventCodec/decode received))
             (refusal-or-value #(ActionCodec/decode received))])))

(defspec whatever-was-decoded-can-be-encoded
  3000
  (prop/for-all [received (gen/one-of [any-packet damaged-packet])]
    (let [event (refusal-or-value #(EventCodec/decode received))]
      (or (keyword? event)
          (instance? Packet (EventCodec/encode event))))))

(defspec any-bytes-are-packets-or-refused
  2000
  (prop/for-all [bytes (gen/one-of [gen/bytes
                                    (gen/fmap #(byte-array (mapcat identity %))
                                              (gen/vector
                                                (gen/tuple (gen/return 0) (gen/return 0)
                                                  (gen/return 0) (gen/choose 0 5)
                                                  gen/byte gen/byte gen/byte)))])]
    (let [found (refusal-or-value #(packets [bytes]))]
      (or (contains? #{:malformed-packet :packet-too-large} found)
          (<= (* 5 (count found)) (alength ^bytes bytes))))))

(defspec a-session-takes-or-refuses-any-event
  1000
  (prop/for-all [types (gen/vector (gen/elements (EventType/values)))
                 mail-suppressed gen/boolean]
    (reduce (fn [^Phase session type]
              (let [next-session (refusal-or-value #(.after session type mail-suppressed))]
                (if (keyword? next-session)
                  (if (= :unexpected-event next-session) session (reduced false))
                  next-session)))
            Phase/START
            types)))
