(ns temse.passage-test
  "How a proxy passes bytes on where one side is slow, silent or gone: its conversation, driven by hand
  before a milter that is a plain socket."
  (:require
   [clojure.string :as string]
   [clojure.test :refer [deftest is testing]]
   [temse.impl.proxy.decoder :as decoder]
   [temse.impl.proxy.passage :as passage]
   [temse.impl.proxy.tap :as tap]
   [temse.milter :as milter]
   [temse.proxy :as proxy]
   [temse.support :as support])
  (:import
   (java.net ServerSocket Socket)
   (java.nio ByteBuffer)
   (java.util.concurrent CountDownLatch LinkedBlockingQueue TimeUnit)
   (temse.protocol Output)
   (temse.transport Endpoint)
   (temse.transport.internal Conversation Conversation$End Conversation$Wish Link)))

(set! *warn-on-reflection* true)

(defn- scripted-link
  "Returns a link whose tasks are kept in a queue, and which is congested when the atom says so."
  ^Link [^Output output ^LinkedBlockingQueue tasks congested?]
  (reify Link
    (output [_] output)
    (flush [_])
    (isCongested [_] @congested?)
    (enter [_ _] true)
    (leave [_])
    (later [_ task] (.add tasks task))
    (peer [_] "inet:1@192.0.2.1")))

(def ^:private silent
  {:accept (fn [_ _]), :end (fn [])})

(defn- driven-among
  "Returns another conversation of a proxy with what it is driven by."
  [{:keys [passage] :as passages} decoder]
  (let [output (Output.)
        tasks (LinkedBlockingQueue.)
        congested? (atom false)]
    (assoc passages
           :output output :tasks tasks :congested? congested?
           :conversation (passage 1 (scripted-link output tasks congested?) decoder))))

(defn- driven
  "Returns a conversation before a milter's port with what it is driven by."
  [port decoder]
  (driven-among (passage/passages "proxy" (Endpoint/parse (str port))) decoder))

(defn- receive
  [{:keys [^Conversation conversation]} ^ByteBuffer input]
  (.receive conversation input (System/nanoTime)))

(defn- bytes-of
  ^ByteBuffer [n]
  (ByteBuffer/wrap (byte-array n)))

(defn- run-task
  "Runs the next task that was given to the link, and returns what is wanted then; nil if none comes."
  [{:keys [^LinkedBlockingQueue tasks] :as driven}]
  (when-let [task (.poll tasks 10 TimeUnit/SECONDS)]
    (.run ^Runnable task)
    (receive driven (bytes-of 0))))

(defn- end
  [{:keys [^Conversation conversation]}]
  (.ended conversation Conversation$End/PEER_CLOSED nil))

(deftest an-mta-that-does-not-read-holds-up-the-milter
  (with-open [server (ServerSocket. 0)]
    (let [{:keys [^Output output ^LinkedBlockingQueue tasks congested?] :as driven}
          (driven (.getLocalPort server) silent)]
      (is (= Conversation$Wish/READ (receive driven (bytes-of 1))))
      (with-open [accepted (.accept server)]
        (future (try
                  (.write (.getOutputStream accepted) (byte-array 1000000))
                  (catch java.io.IOException _)))
        (reset! congested? true)
        (is (= Conversation$Wish/DRAIN (run-task driven)))
        (is (nil? (.poll tasks 200 TimeUnit/MILLISECONDS)))
        (is (<= (.size output) 65536))
        (testing "and on it goes when the MTA has read"
          (reset! congested? false)
          (is (= Conversation$Wish/READ (receive driven (bytes-of 0))))
          (while (< (.size output) 1000000)
            (is (= Conversation$Wish/READ (run-task driven)))))
        (end driven)))))

(deftest a-milter-that-does-not-read-holds-up-the-mta
  (with-open [server (ServerSocket. 0)]
    (let [{:keys [^Conversation conversation] :as driven} (driven (.getLocalPort server) silent)
          feed (fn []
                 (loop [passed 0]
                   (let [input (bytes-of 65536)
                         wish (receive driven input)]
                     (cond
                       (= Conversation$Wish/WAIT wish) (do (is (= 65536 (.remaining input)))
                                                           passed)
                       (< passed 200000000) (recur (+ passed 65536))
                       :else :endless))))
          first-passed (feed)]
      (is (int? first-passed))
      (with-open [accepted (.accept server)]
        (testing "and on it goes when the milter reads"
          (let [reader (future (count (.readAllBytes (.getInputStream accepted))))]
            (is (= Conversation$Wish/READ (run-task driven)))
            (let [more (long (feed))]
              (testing "and an MTA that has gone meanwhile does not wait for ever"
                (is (= Conversation$Wish/WAIT (.peerClosed conversation 5)))
                (is (= 10000000005 (.deadline conversation)))
                (is (= Conversation$Wish/CLOSE (.expired conversation 10000000005))))
              (end driven)
              (is (= (+ (long first-passed) more) (support/awaited reader))))))))))

(defn- fed
  "Feeds a conversation until it does not take more, and returns how many bytes it has taken."
  [driven]
  (let [input (bytes-of 1000000)]
    (while (and (.hasRemaining input) (not= Conversation$Wish/WAIT (receive driven input))))
    (.position input)))

(deftest all-connections-together-are-bounded-and-none-waits-for-another
  (let [go-on (CountDownLatch. 1)]
    (with-redefs [passage/most-pending-together 400000
                  passage/write (fn [_ _] (.await go-on))]
      (with-open [server (ServerSocket. 0)]
        (let [{:keys [stop-passages] :as passages} (passage/passages "proxy" (Endpoint/parse (str (.getLocalPort server))))
              connections (doall (repeatedly 4 #(driven-among passages silent)))]
          (is (= [262144 137856 16384 16384] (mapv fed connections)))
          (testing "and whoever has gone makes room"
            (run! end connections)
            (.countDown go-on)
            (stop-passages 30000)
            (let [late (driven-among passages silent)]
              (is (<= 262144 (long (fed late))))
              (end late)
              (stop-passages 30000))))))))

(deftest what-waits-for-a-milter-that-never-reads-is-given-up-when-the-mta-has-gone
  (with-open [server (ServerSocket. 0)]
    (let [{:keys [stop-passages] :as driven} (driven (.getLocalPort server) silent)]
      (while (not= Conversation$Wish/WAIT (receive driven (bytes-of 65536))))
      (with-open [_accepted (.accept server)]
        (end driven)
        (let [started (System/nanoTime)]
          (stop-passages 30000)
          (is (< (/ (- (System/nanoTime) started) 1e9) 15.0)))))))

(deftest an-error-in-either-direction-ends-both-sides
  (doseq [side [:mta :milter]]
    (testing side
      (support/with-logs logs
        (with-open [server (ServerSocket. 0)]
          (let [driven (driven (.getLocalPort server)
                               (assoc silent :accept (fn [of _]
                                                       (when (= side of)
                                                         (throw (OutOfMemoryError. "for this test"))))))]
            (if (= :mta side)
              (do
                (is (thrown? OutOfMemoryError (receive driven (bytes-of 1))))
                (end driven))
              (receive driven (bytes-of 1)))
            (with-open [accepted (.accept server)]
              (when (= :milter side)
                (is (= 0 (.read (.getInputStream accepted)))))
              (.write (.getOutputStream accepted) (byte-array 1))
              (when (= :milter side)
                (is (= Conversation$Wish/CLOSE (run-task driven)))
                (is (support/awaited (future (while (empty? (support/messages logs :error))
                                               (Thread/yield))
                                             true))))
              (is (= -1 (try
                          (.read (.getInputStream accepted))
                          (catch java.net.SocketException _ -1)))))
            (when (= :milter side)
              (end driven))))))))

(deftest a-milter-that-does-not-answer-the-connection-holds-nobody
  (support/with-logs logs
    (with-redefs [passage/connect-millis 300]
      (with-open [server (ServerSocket. 0 1)]
        (let [fillers (doall (repeatedly 3 #(Socket.)))
              _ (doseq [^Socket filler fillers]
                  (try
                    (.connect filler (.getLocalSocketAddress server) 200)
                    (catch java.io.IOException _)))
              {:keys [unreachable] :as driven} (driven (.getLocalPort server) silent)
              started (System/nanoTime)]
          (is (= Conversation$Wish/READ (receive driven (bytes-of 1))))
          (is (< (- (System/nanoTime) started) 250000000))
          (is (= Conversation$Wish/CLOSE (run-task driven)))
          (is (= 1 @unreachable))
          (is (string/includes? (first (support/messages logs :warn)) "cannot be reached: no answer in"))
          (end driven)
          (run! #(.close ^Socket %) fillers))))))

(deftest silence-ends-a-connection
  (with-open [server (ServerSocket. 0)]
    (let [{:keys [^Conversation conversation ^LinkedBlockingQueue tasks] :as driven} (driven (.getLocalPort server) silent)
          seconds-left #(Math/round (/ (- (.deadline conversation) (System/nanoTime)) 1e9))]
      (testing "early, of an MTA that has said nothing"
        (is (<= 29 (seconds-left) 30))
        (is (= Conversation$Wish/CLOSE (.expired conversation (System/nanoTime)))))
      (receive driven (bytes-of 1))
      (testing "late, of both"
        (is (<= 7200 (seconds-left) 7210)))
      (testing "and what the milter says counts, too"
        (with-open [accepted (.accept server)]
          (let [before (.deadline conversation)]
            (.write (.getOutputStream accepted) (byte-array 1))
            (is (= Conversation$Wish/READ (run-task driven)))
            (is (< before (.deadline conversation))))
          (end driven))))))

(deftest what-an-mta-says-before-it-closes-reaches-the-milter
  (dotimes [_ 20]
    (let [reason (promise)]
      (milter/with-milter [server {:port 0, :handlers {:disconnect (fn [event _]
                                                                     (deliver reason (:reason event))
                                                                     nil)}}]
        (with-open [proxy (proxy/start-proxy {:listen "inet:0@127.0.0.1", :daemon? true
                                              :milter (milter/milter-address server)})]
          (with-open [socket (support/dial (parse-long (re-find #"\d+" (proxy/proxy-address proxy))))]
            (support/negotiate socket)
            (support/write-packet socket \Q)))
        (is (= :quit (support/awaited reason)))))))

(deftest what-a-milter-says-before-it-closes-reaches-the-mta
  (with-open [server (ServerSocket. 0)]
    (let [{:keys [^Output output] :as driven} (driven (.getLocalPort server) silent)]
      (receive driven (bytes-of 1))
      (with-open [accepted (.accept server)]
        (.write (.getOutputStream accepted) (byte-array 3)))
      (while (not= Conversation$Wish/CLOSE (run-task driven)))
      (is (= 3 (.size output)))
      (end driven))))

;; Decoding

(deftest a-connection-that-is-not-decoded-in-time-is-reported-once
  (support/with-logs logs
    (let [{:keys [submit stop]} (decoder/worker "proxy")
          go-on (CountDownLatch. 1)
          _ (submit #(.await go-on) 0)
          {:keys [accept end]} (decoder/decoder {:title "proxy 1", :submit submit, :holdings (decoder/holdings), :on-exchange (fn [_])})
          piece (byte-array 1000000)]
      (testing "small pieces count, too"
        (is (< (count (take-while true? (repeatedly 1000000 #(submit (fn []) 1)))) 400000)))
      (run! deref (doall (for [side [:mta :milter]]
                           (future (dotimes [_ 100] (accept side piece))))))
      (end)
      (.countDown go-on)
      (stop))
    (is (= [] (support/messages logs :error)))
    (is (= 1 (count (support/messages logs :warn))))))

(deftest exchanges-that-wait-behind-one-without-a-reply-are-bounded-in-bytes
  (let [offer {:event :options, :protocol #{}}
        big (fn [state n] (tap/event-came state {:event :body, :n n} 16000000 0))
        [state] (tap/event-came tap/beginning offer 10 0)
        [state _] (big state 1)
        [state _] (big state 2)
        [state told] (big state 3)]
    (is (= [:options :body] (map (comp :event :event) told)))
    (is (every? (comp nil? :response) told))
    (is (<= (:size state) 33554432)))
  (testing "and so are actions without an end"
    (let [[state] (tap/event-came tap/beginning {:event :mail} 10 0)
          states (iterate (fn [[state]] (tap/action-came state {:action :progress} 1000000 0)) [state nil])]
      (is (some seq (map second (take 40 states))))
      (is (every? #(<= (:size (first %)) 33554432) (take 100 states))))))
