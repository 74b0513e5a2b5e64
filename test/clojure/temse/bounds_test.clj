(ns temse.bounds-test
  "What strangers may send, and hold, of each kind: beyond it the outcome is the one that doc/options.org
  states, it is counted, and the next mail passes."
  (:require
   [clojure.test :refer [deftest is testing]]
   [temse.action :as act]
   [temse.filter :as filter]
   [temse.milter :as milter]
   [temse.support :as support]
   [temse.test :as mt])
  (:import
   (java.io IOException)
   (java.lang.management ManagementFactory)
   (java.nio ByteBuffer)
   (java.util.concurrent CompletableFuture CountDownLatch TimeUnit)
   (java.util.concurrent.atomic AtomicLong)
   (temse.client MtaSession)
   (temse.limits RawMta)))

(set! *warn-on-reflection* true)

(defn- exceeded
  [server]
  (:limits-exceeded (milter/milter-status server)))

(defn- fields
  [n]
  (for [i (range n)]
    [(str "X-" i) "value"]))

(def ^:private ways-of-handling-headers
  {"answered" {:header (fn [_ _])}
   "watched" {:header ^:no-reply (fn [_ _])}
   "watched, with the body" {:header ^:no-reply (fn [_ _]), :body ^:no-reply (fn [_ _])}})

(defn- check-header-limit
  "A mail that keeps to the limit passes, one beyond it is deferred and counted once, on one
  connection."
  [options good bad]
  (doseq [[how handlers] ways-of-handling-headers]
    (testing how
      (support/with-logs _logs
        (milter/with-milter [server (assoc options
                                           :port 0
                                           :handlers (assoc handlers :end-of-message
                                                            (fn [_ _] [(act/accept)])))]
          (with-open [^MtaSession session (mt/connect-to server)]
            (dotimes [round 2]
              (is (= :accept (:verdict (mt/run-message session {:headers good}))))
              (is (= round (exceeded server)))
              (is (= :temporary-failure (:verdict (mt/run-message session {:headers bad}))))
              (is (= (inc round) (exceeded server))))
            (is (= :accept (:verdict (mt/run-message session {:headers good}))))))))))

(deftest a-message-with-too-many-header-fields-is-deferred
  (check-header-limit {:max-header-fields 20} (fields 20) (fields 40)))

(deftest a-message-with-too-large-a-header-is-deferred
  (testing "few large fields"
    (check-header-limit {:max-header-bytes 10000}
                        [["A" (apply str (repeat 4000 "x"))] ["B" (apply str (repeat 4000 "x"))]]
                        (repeat 6 ["A" (apply str (repeat 4000 "x"))])))
  (testing "many small ones"
    (check-header-limit {:max-header-bytes 1000} (fields 50) (fields 500))))

(deftest a-header-that-nobody-looks-at-has-no-limit
  (milter/with-milter [server {:port 0
                               :max-header-fields 1
                               :max-header-bytes 1
                               :handlers {:end-of-message (fn [_ _] [(act/accept)])}}]
    (is (= :accept (:verdict (mt/run-message server {:headers (fields 100)}))))
    (is (zero? (exceeded server)))))

(defn- addresses
  [n]
  (for [i (range n)]
    (str "<r" i "@example.com>")))

(deftest a-recipient-too-many-is-deferred-alone
  (support/with-logs _logs
    (let [seen (atom [])]
      (milter/with-milter [server {:port 0
                                   :max-recipients 3
                                   :handlers {:recipient (fn [{:keys [address]} _]
                                                           (swap! seen conj address)
                                                           nil)
                                              :end-of-message (fn [_ _] [(act/accept)])}}]
        (with-open [^MtaSession session (mt/connect-to server)]
          (dotimes [_ 2]
            (let [{:keys [verdict recipients]} (mt/run-message session {:recipients (addresses 5)})]
              (is (= :accept verdict))
              (is (= [:continue :continue :continue :temporary-failure :temporary-failure]
                     (map (comp :action recipients) (addresses 5)))))
            (is (= (addresses 3) @seen))
            (reset! seen [])))
        (is (= 4 (exceeded server)))))))

(deftest a-recipient-too-many-that-cannot-be-answered-defers-the-message
  (support/with-logs _logs
    (milter/with-milter [server {:port 0
                                 :max-recipients 3
                                 :no-reply-events #{:recipient}
                                 :handlers {:recipient (fn [_ _])
                                            :end-of-message (fn [_ _] [(act/accept)])}}]
      (with-open [^MtaSession session (mt/connect-to server)]
        (dotimes [round 2]
          (is (= :temporary-failure
                 (:verdict (mt/run-message session {:recipients (addresses 5)}))))
          (is (= (inc round) (exceeded server)))
          (is (= :accept (:verdict (mt/run-message session {:recipients (addresses 3)})))))))))

(deftest macros-beyond-their-limit-close-the-connection
  (support/with-logs logs
    (let [ends (atom [])
          ended (CountDownLatch. 1)]
      (milter/with-milter [server {:port 0
                                   :max-macro-bytes 10000
                                   :handlers {:mail (fn [_ _])
                                              :message-end (fn [{:keys [reason]} _]
                                                             (swap! ends conj reason))
                                              :disconnect (fn [{:keys [reason]} _]
                                                            (swap! ends conj reason)
                                                            (.countDown ended))}}]
        (with-open [peer (RawMta/connect (int (milter/milter-port server)))]
          (.negotiate peer)
          (.send peer \M "<a@example.org>\u0000")
          (is (= "c" (.readCodes peer 1)))
          (doseq [stage "CHMRT"]
            (.send peer \D (str stage "x\u0000" (apply str (repeat 3000 "y")) "\u0000")))
          (is (.awaitClose peer)))
        (is (.await ended 10 TimeUnit/SECONDS))
        (is (= [:lost :error] @ends))
        (is (= 1 (exceeded server)))
        (is (= :continue (-> (mt/run-message server {}) :conversation first :response last :action)))))
    (is (some #(re-find #"macros of the connection have more than 10000 bytes" %)
              (support/messages logs :warn)))))

(defn- unfinished
  "Returns a packet of 1 MiB that lacks its last octet."
  ^bytes []
  (let [size (* 1024 1024)]
    (.array (doto (ByteBuffer/allocate (+ 3 size))
              (.putInt size)
              (.put (byte (int \B)))))))

(deftest unfinished-packets-of-all-connections-share-their-limit
  (support/with-logs _logs
    (milter/with-milter [server {:port 0
                                 :max-unfinished-bytes (* 8 1024 1024)
                                 :handlers {:body (fn [_ _])
                                            :end-of-message (fn [_ _] [(act/accept)])}}]
      (let [port (milter/milter-port server)
            connect #(.negotiate (RawMta/connect (int port)))
            begins (fn [^RawMta peer]
                     (try
                       (.sendBytes peer (unfinished))
                       (catch IOException _)))
            peers (vec (repeatedly 40 connect))]
        (try
          (run! deref (mapv #(future (begins %)) peers))
          (testing "those that do not fit are closed"
            (let [end (+ (System/nanoTime) 10000000000)]
              (while (and (< (long (exceeded server)) 32) (< (System/nanoTime) end))
                (Thread/yield)))
            (is (<= 32 (exceeded server) 40))
            (is (>= 8 (count (remove #(.isClosed ^RawMta %) peers)))))
          (testing "small packets are served meanwhile"
            (is (= :accept (:verdict (mt/run-message server {})))))
          (finally
            (run! #(.close ^RawMta %) peers)))
        (testing "there is room again when they are gone"
          (let [before (exceeded server)
                end (+ (System/nanoTime) 10000000000)]
            (while (and (pos? (long (:connections (milter/milter-status server))))
                        (< (System/nanoTime) end))
              (Thread/yield))
            (let [again (vec (repeatedly 8 connect))]
              (run! begins again)
              (doseq [^RawMta peer again]
                (.sendBytes peer (byte-array 1))
                (is (= "c" (.readCodes peer 1)))
                (.close peer)))
            (is (= before (exceeded server)))))))))

(deftest a-peer-has-no-more-connections-than-it-may
  (support/with-logs _logs
    (milter/with-milter [server {:port 0
                                 :max-connections-per-peer 3
                                 :handlers {:end-of-message (fn [_ _] [(act/accept)])}}]
      (let [port (milter/milter-port server)
            peers (vec (repeatedly 3 #(.negotiate (RawMta/connect (int port)))))]
        (dotimes [_ 2]
          (with-open [fourth (RawMta/connect (int port))]
            (is (.awaitClose fourth))))
        (with-open [other (RawMta/connect (int port) "127.0.66.1")]
          (is (some? (.negotiate other)) "others are served"))
        (is (= {:refused 2, :refused-per-peer 2}
               (select-keys (milter/milter-status server) [:refused :refused-per-peer])))
        (.close ^RawMta (peers 0))
        (let [end (+ (System/nanoTime) 10000000000)]
          (while (and (< 2 (long (:connections (milter/milter-status server))))
                      (< (System/nanoTime) end))
            (Thread/yield)))
        (is (= :accept (:verdict (mt/run-message server {}))) "there is room again")
        (run! #(.close ^RawMta %) peers)))))

;; ---- output that nobody reads

(def ^:private new-body (apply str (repeat 100000 "x")))

(def ^:private many 300)

(defn- answer
  "Returns what a handler that replaces the body returns, in one of several ways."
  [how]
  (let [actions [(act/change-body new-body) (act/accept)]]
    (case how
      :at-once actions
      :as-a-stream [(act/change-body (fn [] new-body)) (act/accept)]
      :pending (CompletableFuture/completedFuture actions)
      :slowly (do (Thread/sleep 3)
                  actions))))

(defn- standstill
  "Returns the number when it has not changed for a while; there is no event for what does not happen."
  [^AtomicLong number]
  (loop [before -1]
    (let [now (.get number)]
      (if (= now before)
        now
        (do (Thread/sleep 300)
            (recur now))))))

(deftest a-peer-that-asks-and-never-reads-is-not-answered-for-ever
  (doseq [how [:at-once :as-a-stream :pending :slowly]
          :let [calls (AtomicLong.)]]
    (testing how
      (milter/with-milter [server {:port 0
                                   :actions #{:change-body}
                                   :handlers {:end-of-message (fn [_ _]
                                                                (.incrementAndGet calls)
                                                                (answer how))}}]
        (with-open [peer (RawMta/connect (int (milter/milter-port server)))]
          (.negotiate peer)
          (let [message (byte-array (concat (RawMta/packet \M "<a@example.org>\u0000")
                                            (RawMta/packet \E "")))
                all (ByteBuffer/allocate (* (int many) (alength message)))]
            (dotimes [_ many]
              (.put all message))
            (.sendBytes peer (.array all))
            (let [called (standstill calls)]
              (is (< 0 called 250) "what sockets and the server hold is less than 25 MB")
              (is (= :accept (:verdict (mt/run-message server {}))) "others are served"))
            (testing "when it reads it gets all its answers"
              (is (= many (count (filter #(= \a %)
                                         (repeatedly many #(.readVerdict peer))))))
              (is (= (inc (long many)) (.get calls))))))))))

;; ---- connections that do nothing

(defn- used-heap
  []
  (dotimes [_ 3]
    (System/gc))
  (.getUsed (.getHeapMemoryUsage (ManagementFactory/getMemoryMXBean))))

(defn- large-message
  "A message of 9,000 header fields, a body of 1 MB and macros of 600 KB."
  ^bytes []
  (byte-array (concat (RawMta/packet \D (str "Mi\u0000" (apply str (repeat 300000 "q")) "\u0000"))
                      (RawMta/packet \M "<a@example.org>\u0000")
                      (RawMta/packet \R "<b@example.com>\u0000")
                      (mapcat #(RawMta/packet \L (str "X-Field-" % "\u0000some value of it\u0000"))
                              (range 9000))
                      (RawMta/packet \N "")
                      (mapcat (fn [_] (RawMta/packet \B (apply str (repeat 50000 "b")))) (range 20))
                      (RawMta/packet \D (str "Ei\u0000" (apply str (repeat 300000 "q")) "\u0000"))
                      (RawMta/packet \E ""))))

(deftest an-idle-connection-keeps-nothing-of-its-last-message
  (let [all (large-message)
        filters {"a filter that remembers what it sees"
                 {:handlers {:header (fn [event context]
                                       (milter/update-message context update :fields conj event))
                             :body (fn [event context]
                                     (milter/update-message context update :pieces conj event))
                             :end-of-message (fn [_ context]
                                               (let [{:keys [fields pieces]} (milter/message context)]
                                                 (if (= [9000 20] [(count fields) (count pieces)])
                                                   [(act/accept)]
                                                   [(act/discard)])))}}
                 "a filter that gets whole messages"
                 {:handlers (filter/message-filter (fn [{:keys [headers]} _]
                                                     (if (= 9000 (count headers))
                                                       [(act/accept)]
                                                       [(act/discard)])))}}]
    (doseq [[what options] filters]
      (testing what
        (milter/with-milter [server (assoc options :port 0)]
          (let [connect #(.negotiate (RawMta/connect (int (milter/milter-port server))))
                sends #(do (.sendBytes ^RawMta % all)
                           (is (= \a (.readVerdict ^RawMta %))))]
            (with-open [^RawMta first-one (connect)]
              (sends first-one))
            (let [peers (vec (repeatedly 12 connect))
                  before (used-heap)]
              (run! sends peers)
              (let [kept (quot (- (long (used-heap)) (long before)) 12)]
                (println "an idle connection of" what "keeps" kept "bytes of its last message")
                (is (< kept (* 20 1024))))
              (run! #(.close ^RawMta %) peers))))))))
