(ns temse.mta-timeouts-test
  "MTAs that are too slow: to negotiate, to finish what they have begun, to say more."
  (:require
   [clojure.test :refer [deftest is testing]]
   [temse.action :as act]
   [temse.milter :as milter]
   [temse.support :as support]
   [temse.test :as mt])
  (:import
   (java.io IOException)
   (java.util Arrays)
   (java.util.concurrent BlockingQueue CompletableFuture CountDownLatch LinkedBlockingQueue TimeUnit)
   (temse.limits RawMta)
   (temse.protocol Offer)))

(set! *warn-on-reflection* true)

(defn- ends
  "Returns [queue handlers]: a queue of the ends of messages and clients, and handlers that fill it."
  []
  (let [queue (LinkedBlockingQueue.)]
    [queue
     {:mail (fn [_ _])
      :message-end (fn [{:keys [reason]} _] (.put queue reason))
      :disconnect (fn [{:keys [reason]} _] (.put queue reason))}]))

(defn- next-of
  [^BlockingQueue queue]
  (.poll queue 10 TimeUnit/SECONDS))

(defn- dribble
  "Sends the bytes one by one, with a pause of 20 ms after each, until the milter closes; returns
  [octets milliseconds]."
  [^RawMta peer ^bytes octets]
  (let [never (CountDownLatch. 1)
        start (System/nanoTime)]
    (loop [i 0]
      (if (or (= i (alength octets))
              (.isClosed peer)
              (not (try
                     (.sendBytes peer (Arrays/copyOfRange octets i (inc i)))
                     true
                     (catch IOException _ false))))
        [i (quot (- (System/nanoTime) start) 1000000)]
        (do (.await never 20 TimeUnit/MILLISECONDS)
            (recur (inc i)))))))

(defn- large-packet
  "A packet that takes a minute to dribble."
  ^bytes []
  (RawMta/packet \L (str "Subject\u0000" (apply str (repeat 3000 "x")) "\u0000")))

(deftest a-packet-that-dribbles-is-given-up-at-the-packet-timeout
  (support/with-logs logs
    (let [[queue handlers] (ends)]
      (milter/with-milter [server {:port 0, :packet-timeout 400, :handlers handlers}]
        (with-open [peer (RawMta/connect (int (milter/milter-port server)))]
          (.negotiate peer)
          (.send peer \M "<a@example.org>\u0000")
          (is (= "c" (.readCodes peer 1)))
          (let [[octets millis] (dribble peer (large-packet))]
            (is (<= 400 millis))
            (is (< octets 3000)))
          (is (= [:lost :error] [(next-of queue) (next-of queue)])))
        (is (= 1 (:timeouts (milter/milter-status server))))
        (is (= :continue (-> (mt/run-message server {}) :conversation first :response last :action)))))
    (is (some #(re-find #"did not finish a packet in time" %) (support/messages logs :info)))))

(deftest whole-packets-may-come-as-slowly-as-they-like
  (milter/with-milter [server {:port 0, :packet-timeout 1500, :handlers {:mail (fn [_ _])}}]
    (with-open [peer (RawMta/connect (int (milter/milter-port server)))]
      (.negotiate peer)
      (let [[_ millis] (dribble peer (byte-array (mapcat identity
                                                         (repeat 8 (RawMta/packet \M "<a@b>\u0000")))))]
        (is (< 1500 millis))
        (is (= "cccccccc" (.readCodes peer 8)))))))

(deftest time-for-a-packet-does-not-run-while-the-filter-takes-its-own
  (let [value (CompletableFuture.)
        never (CountDownLatch. 1)
        waiting (promise)]
    (milter/with-milter [server {:port 0
                                 :packet-timeout 1000
                                 :progress-interval 100
                                 :handlers {:end-of-message (fn [_ _]
                                                              (deliver waiting true)
                                                              value)}}]
      (with-open [peer (RawMta/connect (int (milter/milter-port server)))]
        (.negotiate peer)
        (let [next-message (RawMta/packet \M "<next@example.org>\u0000")]
          (.send peer \M "<a@example.org>\u0000")
          (.send peer \E "")
          (.sendBytes peer (Arrays/copyOfRange next-message 0 8))
          (support/awaited waiting)
          (.await never 1500 TimeUnit/MILLISECONDS)
          (.complete value [(act/reject)])
          (is (= \r (.readVerdict peer)))
          (.sendBytes peer (Arrays/copyOfRange next-message 8 (alength next-message)))
          (.send peer \E "")
          (is (= \r (.readVerdict peer))))))))

(deftest who-does-not-negotiate-in-time-holds-no-place
  (support/with-logs logs
    (milter/with-milter [server {:port 0
                                 :negotiation-timeout 1000
                                 :max-connections 3
                                 :handlers {:end-of-message (fn [_ _] [(act/accept)])}}]
      (let [port (milter/milter-port server)]
        (with-open [good (RawMta/connect (int port))
                    silent (RawMta/connect (int port))
                    dribbling (RawMta/connect (int port))]
          (.negotiate good)
          (let [offer (.toBytes (.packet Offer/CURRENT))
                [octets _] (dribble dribbling (byte-array (concat offer (repeat 3000 0))))]
            (is (or (< octets (alength offer)) (< octets 3000))))
          (is (.awaitClose silent))
          (is (<= 1 (:timeouts (milter/milter-status server)) 2))
          (testing "who has negotiated may be silent"
            (.sendMessage good "<a@example.org>")
            (is (= \a (.readVerdict good)))))
        (is (= :accept (:verdict (mt/run-message server {}))) "there is room again")))
    (is (some #(re-find #"did not negotiate in time" %) (support/messages logs :info)))))

(deftest an-offer-that-dribbles-is-too-late-as-well
  (support/with-logs _logs
    (milter/with-milter [server {:port 0
                                 :negotiation-timeout 150
                                 :handlers {:mail (fn [_ _])}}]
      (with-open [peer (RawMta/connect (int (milter/milter-port server)))]
        (let [offer (.toBytes (.packet Offer/CURRENT))
              [octets millis] (dribble peer offer)]
          (is (< octets (alength offer)))
          (is (<= 150 millis)))))))

(deftest an-mta-that-is-silent-for-too-long-loses-its-message
  (support/with-logs logs
    (let [[queue handlers] (ends)]
      (milter/with-milter [server {:port 0, :idle-timeout 1000, :handlers handlers}]
        (with-open [peer (RawMta/connect (int (milter/milter-port server)))]
          (.negotiate peer)
          (let [[octets _] (dribble peer (byte-array (mapcat identity
                                                             (repeat 2 (RawMta/packet \M "<a@b>\u0000")))))]
            (is (= 22 octets) "whoever sends is not silent"))
          (is (= "cc" (.readCodes peer 2)))
          (is (.awaitClose peer))
          (is (= [:aborted :lost :error] (repeatedly 3 #(next-of queue))))
          (is (= 1 (:timeouts (milter/milter-status server)))))))
    (is (some #(re-find #"silent for too long" %) (support/messages logs :info)))))

(def ^:private times-and-bytes
  [:handler-timeout :progress-interval :idle-timeout :packet-timeout :negotiation-timeout :write-timeout
   :block-grace :max-blocked-wait :max-header-bytes :max-macro-bytes :max-unfinished-bytes])

(def ^:private counts
  [:max-packet-size :max-header-fields :max-recipients :max-connections :max-connections-per-peer
   :backlog :max-blocked])

(deftest absurd-times-and-sizes-are-taken
  (doseq [number [Integer/MAX_VALUE (inc Integer/MAX_VALUE) (dec Long/MAX_VALUE) Long/MAX_VALUE]]
    (testing number
      (milter/with-milter [server (merge
                                    (zipmap times-and-bytes (repeat number))
                                    (zipmap counts (repeat Integer/MAX_VALUE))
                                    {:port 0
                                     :handlers {:header (fn [_ _])
                                                :recipient (fn [_ _])
                                                :end-of-message
                                                (fn [_ _]
                                                  (doto (CompletableFuture.)
                                                    (.completeOnTimeout [(act/accept)] 50
                                                                        TimeUnit/MILLISECONDS)))}})]
        (dotimes [_ 2]
          (is (= :accept (:verdict (mt/run-message server {})))))
        (with-open [peer (RawMta/connect (int (milter/milter-port server)))]
          (.negotiate peer)
          (dribble peer (RawMta/packet \M "<a@b>\u0000"))
          (.send peer \E "")
          (is (= \a (.readVerdict peer))))))))

(deftest the-least-times-and-sizes-are-taken
  (support/with-logs _logs
    (doseq [option (concat times-and-bytes counts)]
      (testing option
        (milter/with-milter [server {option 1, :port 0, :handlers {:mail (fn [_ _])}}]
          (is (pos? (long (milter/milter-port server)))))))))
