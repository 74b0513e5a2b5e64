(ns temse.status-test
  "What a server counts of its mail."
  (:require
   [clojure.test :refer [are deftest is testing]]
   [temse.action :as act]
   [temse.compose :as compose]
   [temse.filter :as filter]
   [temse.metrics :as metrics]
   [temse.milter :as milter]
   [temse.support :as support]
   [temse.test :as mt])
  (:import
   (java.net Socket StandardSocketOptions)
   (java.time Instant)
   (java.util.concurrent CompletableFuture)
   (temse.server HandlerTimer)))

(set! *warn-on-reflection* true)

(defn- awaiting
  "Returns the status of a server as soon as it is right, and as it is after ten seconds."
  [server right?]
  (let [end (+ (System/nanoTime) 10000000000)]
    (loop []
      (let [status (milter/milter-status server)]
        (if (or (right? status) (< end (System/nanoTime)))
          status
          (do (Thread/sleep 5) (recur)))))))

(def ^:private by-subject
  "Answers as the subject says."
  {:port 0
   :actions #{:quarantine}
   :handlers {:header (fn [{:keys [value]} context]
                        (milter/update-message context assoc :subject value))
              :end-of-message (fn [_ context]
                                (case (:subject (milter/message context))
                                  "accept" [(act/accept)]
                                  "reject" [(act/reject)]
                                  "code" [(act/reply-code 550 "5.7.1" "no")]
                                  "defer" [(act/temporary-failure)]
                                  "discard" [(act/discard)]
                                  "hold" [(act/quarantine "look") (act/accept)]
                                  "held-and-refused" [(act/quarantine "look") (act/reject)]
                                  "throw" (throw (IllegalStateException. "for this test"))
                                  "misspelt" [{:action :rejekt}]
                                  nil))}})

(defn- send-subject
  [session subject]
  (:verdict (mt/run-message session {:headers [["Subject" subject]]})))

(deftest messages-are-counted-by-how-they-end
  (milter/with-milter [server by-subject]
    (with-open [session (mt/connect-to server)]
      (run! #(send-subject session %)
            ["accept" "nothing" "reject" "code" "defer" "discard" "hold" "held-and-refused" "throw"]))
    (is (= {:accepted 2, :rejected 3, :deferred 2, :discarded 1, :quarantined 1}
           (:messages (milter/milter-status server))))))

(deftest messages-without-an-end-are-aborted-or-lost
  (milter/with-milter [server {:port 0, :handlers {:mail (fn [_ context] context)}}]
    (with-open [session (mt/connect-to server)]
      (run! #(mt/send-event session %)
            (concat support/opening (support/envelope) [{:event :abort}] (support/envelope)))
      (milter/stop-milter server 0))
    (is (= {:aborted 1, :lost 1} (:messages (awaiting server #(:lost (:messages %))))))))

(deftest errors-are-counted-by-kind
  (milter/with-milter [server by-subject]
    (with-open [session (mt/connect-to server)]
      (run! #(send-subject session %) ["throw" "misspelt" "throw" "accept"]))
    (is (= {:exception 2, :bad-action 1} (:errors (milter/milter-status server))))
    (testing "also those of peers"
      (with-open [socket (Socket. "127.0.0.1" (int (milter/milter-port server)))]
        (.write (.getOutputStream socket) (byte-array [0 0 0 0]))
        (is (= -1 (.read (.getInputStream socket)))))
      (is (= 1 (:malformed-packet (:errors (milter/milter-status server))))))))

(deftest errors-of-filters-in-a-sequence-are-counted
  (milter/with-milter [server (assoc (compose/in-sequence (dissoc by-subject :port) (dissoc by-subject :port)) :port 0)]
    (is (= :temporary-failure (send-subject server "throw")))
    (is (= {:exception 1} (:errors (milter/milter-status server))))
    (is (= {:deferred 1} (:messages (milter/milter-status server))))))

(deftest events-and-bytes-are-counted
  (milter/with-milter [server by-subject]
    (let [before (milter/milter-status server)]
      (is (= [0 0 {} {} {}] (map before [:bytes-read :bytes-written :events :messages :errors])))
      (with-open [session (mt/connect-to server)]
        (run! #(send-subject session %) ["accept" "accept"]))
      (let [{:keys [events bytes-read bytes-written]}
            (awaiting server #(:disconnect (:events %)))]
        (is (= {:options 1, :header 2, :end-of-message 2, :message-end 2, :disconnect 1}
               (select-keys events [:options :header :end-of-message :message-end :disconnect])))
        (is (< 100 bytes-read 10000))
        (is (< 10 bytes-written 1000))))))

(deftest values-that-are-pending-are-there-until-they-come
  (let [value (CompletableFuture.)
        asked (promise)]
    (milter/with-milter [server {:port 0
                                 :handlers {:end-of-message (fn [_ _] (deliver asked true) value)}}]
      (let [sent (future (mt/run-message server {}))]
        (support/awaited asked)
        (is (= 1 (:pending-values (awaiting server #(= 1 (:pending-values %))))))
        (.complete value [(act/accept)])
        (is (= :accept (:verdict (support/awaited sent))))
        (is (= 0 (:pending-values (milter/milter-status server))))))))

(deftest values-that-are-given-up-are-pending-no-more
  (milter/with-milter [server {:port 0
                               :handler-timeout 50
                               :handlers {:end-of-message (fn [_ _] (CompletableFuture.))}}]
    (is (= :temporary-failure (:verdict (mt/run-message server {}))))
    (is (= [0 {:handler-timeout 1}] (map (milter/milter-status server) [:pending-values :errors])))))

(deftest bodies-in-files-are-there-until-their-message-ends
  (let [seen (promise)
        go-on (promise)]
    (milter/with-milter [server {:port 0
                                 :handlers (filter/message-filter
                                             (fn [_ _]
                                               (deliver seen true)
                                               (support/awaited go-on)
                                               [(act/accept)])
                                             {:memory-per-message 1000})}]
      (let [sent (future (mt/run-message server {:body (str (apply str (repeat 4998 "x")) "\r\n")}))]
        (support/awaited seen)
        (is (= [1 5000] (map (milter/milter-status server) [:spilled-bodies :spilled-bytes])))
        (deliver go-on true)
        (is (= :accept (:verdict (support/awaited sent))))
        (is (= [0 0] (map (awaiting server #(zero? (long (:spilled-bodies %))))
                          [:spilled-bodies :spilled-bytes])))))))

(deftest reloads-and-the-time-since-the-start-are-counted
  (let [before (Instant/now)]
    (milter/with-milter [server by-subject]
      (is (= 0 (:reloads (milter/milter-status server))))
      (milter/reload-milter server (assoc by-subject :daemon? true))
      (is (some? (support/thrown (milter/reload-milter server {:port 0, :daemon? true, :hanlders {}}))))
      (let [{:keys [reloads listening? uptime ^Instant started-at]} (milter/milter-status server)]
        (is (= 1 reloads))
        (is (true? listening?))
        (is (<= 0 uptime 60000))
        (is (not (.isBefore started-at (.minusSeconds before 1)))))
      (milter/stop-milter server)
      (is (false? (:listening? (milter/milter-status server)))))))

;; ---- times

(deftest handlers-are-measured-once-somebody-asks
  (milter/with-milter [server by-subject]
    (send-subject server "accept")
    (is (= {} (:handlers (milter/milter-status server))))
    (metrics/measure! server)
    (metrics/measure! server)
    (dotimes [_ 3]
      (send-subject server "accept"))
    (let [{:keys [header end-of-message]} (:handlers (milter/milter-status server))
          {:keys [p50 p90 p99 max]} header]
      (is (= [3 3] (map :count [header end-of-message])))
      (is (<= 0 p50 p90 p99 max 60000)))))

(deftest the-time-of-a-handler-includes-the-value-that-it-waits-for
  (milter/with-milter [server {:port 0
                               :handlers {:end-of-message (fn [_ _] (future (Thread/sleep 30) [(act/accept)]))}}]
    (metrics/measure! server)
    (mt/run-message server {})
    (is (<= 29 (:max (:end-of-message (:handlers (milter/milter-status server))))))))

(deftest a-timer-that-throws-is-counted-and-changes-no-answer
  (milter/with-milter [server by-subject]
    (.measureWith (milter/java-server server)
                  (reify HandlerTimer
                    (record [_ _ _] (throw (StackOverflowError. "for this test")))))
    (is (= :reject (send-subject server "reject")))
    (is (pos? (long (:listener-failures (milter/milter-status server)))))))

;; ---- probes

(defn- probe
  "Sends bytes to a server and waits until it has closed."
  [server ^bytes sent]
  (with-open [socket (Socket. "127.0.0.1" (int (milter/milter-port server)))]
    (.setSoTimeout socket 10000)
    (.write (.getOutputStream socket) sent)
    (try
      (.read (.getInputStream socket))
      (catch java.net.SocketException _ -1))))

(defn- lines
  "Returns what a server logs while it is probed: level and text, without its name, number and peer."
  [f]
  (support/with-logs logs
    (milter/with-milter [server by-subject]
      (f server)
      (let [status (awaiting server #(pos? (long (:probes %))))]
        (is (= [1 {} 0] (map status [:probes :errors :limits-exceeded])))))
    (mapv (fn [{:keys [level message throwable]}]
            [level (second (re-matches #"milter \d+ \S+ (.*)" message)) throwable])
          @logs)))

(deftest a-probe-costs-a-line-at-debug-that-says-what-it-was
  (testing "a connection without a byte"
    (is (= [[:debug "was no MTA's: no byte" nil]]
           (lines (fn [server] (.close (Socket. "127.0.0.1" (int (milter/milter-port server)))))))))
  (testing "and one that is reset"
    (is (= [[:debug "was no MTA's: no byte" nil]]
           (lines (fn [server]
                    (doto (Socket. "127.0.0.1" (int (milter/milter-port server)))
                      (.setOption StandardSocketOptions/SO_LINGER (int 0))
                      .close))))))
  (are [line sent] (= [[:debug (str "was no MTA's: " line) nil]]
                      (lines #(probe % (byte-array (map int sent)))))
    "an HTTP request: GET / HTTP/1.1" "GET / HTTP/1.1\r\nHost: example.org\r\n\r\n"
    "an HTTP request: HEAD /\\u001b[2J HTTP/1.0" "HEAD /\u001b[2J HTTP/1.0\r\n\r\n"
    "a TLS handshake" "\u0016\u0003\u0001\u0002\u0000\u0001\u0000\u0001\u00fc\u0003\u0003"))

(deftest what-is-no-probe-is-a-breach-of-the-protocol
  (support/with-logs logs
    (milter/with-milter [server by-subject]
      (probe server (.getBytes "GETTING on my nerves\r\n"))
      (probe server (.getBytes "EHLO example.org\r\n"))
      (is (= [0 {:packet-too-large 2}] (map (milter/milter-status server) [:probes :errors]))))
    (is (= 2 (count (support/messages logs :warn))))))

(deftest http-after-the-first-packet-is-a-breach-of-the-protocol
  (milter/with-milter [server by-subject]
    (probe server (byte-array (concat [0 0 0 13 79 0 0 0 6 0 0 1 -1 0 31 -1 -1] (.getBytes "GET / HTTP/1.1\r\n"))))
    (is (= [0 {:packet-too-large 1}] (map (milter/milter-status server) [:probes :errors])))))
