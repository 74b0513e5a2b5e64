(ns temse.fuzz.peers
  "Fuzz targets: milters and MTAs that send anything."
  (:require
   [clojure.string :as string]
   [temse.action :as act]
   [temse.filter :as filter]
   [temse.fuzz.support :refer [from must octet]]
   [temse.impl.proxy.tap :as tap]
   [temse.impl.recording.exchange :as exchange]
   [temse.milter :as milter]
   [temse.mta :as mta]
   [temse.report :as report]
   [temse.test :as mt])
  (:import
   (java.net Socket SocketException)
   (java.nio ByteBuffer)
   (temse.client FuzzedMilter MtaStyle)
   (temse.fuzz PacketLines)
   (temse.protocol MilterException Packet PacketDecoder)))

(set! *warn-on-reflection* true)

;; ---- a milter

(def ^:private header "From: a@example.org\nSubject: hi\nX-A: one\nx-a: two\n")

(defn client
  "A byte that chooses the MTA, and what a milter sends to it. It is read as the MTA does, and the mail has a
  fate; or the session ends."
  [input]
  (let [mta (if (even? (octet input 0)) :postfix :sendmail)
        report (try
                 (FuzzedMilter/report (from input 1)
                                      (if (= :postfix mta) MtaStyle/POSTFIX MtaStyle/SENDMAIL)
                                      header)
                 (catch MilterException e
                   (must (contains? #{:malformed-packet :reply-not-allowed :action-not-negotiated}
                                    (:milter/error (ex-data e)))
                         (ex-message e))))]
    (when report
      (must (contains? #{:accept :reject :temporary-failure :discard} (:verdict report)) report)
      (let [{:keys [fate]} (mta/outcome {:mta mta
                                         :message {:sender "<a@example.org>"
                                                   :recipients ["<b@example.com>" "<c@example.com>"]
                                                   :headers [["From" "a@example.org"] ["Subject" "hi"]]
                                                   :body (.getBytes "hello\r\n")}
                                         :conversation (:conversation report)})]
        (must (contains? #{:delivered :held :refused :deferred :discarded :no-recipients} fate) fate)
        (must (or (not= :accept (:verdict report)) (contains? #{:delivered :held :no-recipients} fate)) report fate)))))

;; ---- a proxy

(def ^:private printable #"[\n\t[^\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]]*")

(defn tap
  "What passes a proxy, a packet a line; those of the milter behind <. Each exchange can be recorded and printed."
  [input]
  (let [exchanges (volatile! [])
        problems (volatile! 0)
        tap (tap/tap #(vswap! exchanges conj %) (fn [_ _] (vswap! problems inc)))]
    (doseq [^String line (PacketLines/of input)
            :let [milter? (string/starts-with? line "<")
                  packet (cond-> line milter? (subs 1))]
            :when (seq packet)]
      (tap (if milter? :milter :mta) (.toBytes (PacketLines/packet packet)) 0))
    (tap :end)
    (must (zero? (long @problems)))
    (doseq [exchange @exchanges]
      (exchange/check 0 (select-keys exchange [:event :response :nanos]))
      (doseq [line (report/exchange-lines exchange true)]
        (must (re-matches printable line) line)))))

;; ---- over loopback

(def ^:private running
  (delay (milter/start-milter
           {:port 0
            :name "fuzzed"
            :log-mail? false
            :max-packet-size 65536
            :handlers (merge (filter/message-filter
                               (fn [message context]
                                 (filter/changed context (update message :headers conj ["X-Seen" "yes"]))))
                             {:recipient (fn [_ _] [(act/continue)])
                              :unknown (fn [_ _] nil)})})))

(def ^:private bad-ends
  "What a socket throws where the other side has closed it with bytes unread."
  #"(?i)reset|broken pipe|abort")

(defn- said
  "Returns what the server sends to a peer that sends pieces and then no more, up to its end."
  ^bytes [pieces]
  (with-open [socket (Socket. "127.0.0.1" (int (milter/milter-port @running)))]
    (.setSoTimeout socket 20000)
    (.setTcpNoDelay socket true)
    (try
      (let [out (.getOutputStream socket)]
        (run! #(.write out ^bytes %) pieces)
        (.shutdownOutput socket))
      (.readAllBytes (.getInputStream socket))
      (catch SocketException e
        (must (re-find bad-ends (str (ex-message e))) (ex-message e))
        (byte-array 0)))))

(defn- packets-in
  [bytes]
  (let [decoder (PacketDecoder. 1048576)
        buffer (ByteBuffer/wrap bytes)
        packets (into [] (take-while some?) (repeatedly #(.next decoder buffer)))]
    (must (not (.midPacket decoder)))
    packets))

(defn- stream-of
  "Returns the packets that lines write as one stream."
  ^bytes [lines]
  (byte-array (mapcat #(.toBytes (PacketLines/packet %)) (filter seq lines))))

(def ^:private checks (atom 0))

(defn server
  "A byte that says how the rest is cut, and whether it is a stream or lines that write packets. The server sends
  whole packets only, ends with the peer, and goes on serving others."
  [input]
  (let [choice (octet input 0)
        stream (if (bit-test choice 7) (from input 1) (stream-of (PacketLines/of (from input 1))))
        size (inc (bit-and 127 choice))
        pieces (if (= 128 size)
                 [stream]
                 (map byte-array (take 50 (concat (take 49 (partition-all size stream))
                                                  [(drop (* 49 size) stream)]))))]
    (doseq [^Packet packet (packets-in (said pieces))]
      (must (string/includes? "Oacrtdsyhimb+2-eqp" (str (char (bit-and 0xFF (.code packet))))) (str packet)))
    (when (zero? (mod (long (swap! checks inc)) 200))
      (must (= :accept (:verdict (mt/run-message (milter/milter-address @running) {})))))))
