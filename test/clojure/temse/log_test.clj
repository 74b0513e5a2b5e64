(ns temse.log-test
  "What the log says of a server, and that nothing it meets disturbs the mail."
  (:require
   [clojure.string :as string]
   [clojure.test :refer [are deftest is testing]]
   [clojure.tools.logging :as log]
   [clojure.tools.logging.impl :as logging]
   [temse.action :as act]
   [temse.impl.log :as listener]
   [temse.milter :as milter]
   [temse.support :as support]
   [temse.test :as mt])
  (:import
   (java.io IOException)
   (temse.protocol EventType MilterException MilterException$Category)
   (temse.server ConnectionInfo ServerListener)))

(set! *warn-on-reflection* true)

(defn- connection
  ^ConnectionInfo [peer]
  (reify ConnectionInfo
    (id [_] 7)
    (peer [_] peer)
    (agreement [_] nil)
    (macros [_] nil)))

(defn- reported
  "Calls every method of a listener."
  [^ServerListener listener connection reply event ^Throwable problem]
  (.negotiated listener connection)
  (.verdict listener connection EventType/MAIL reply :accepted)
  (.verdict listener connection nil nil nil)
  (.closed listener connection nil)
  (.closed listener connection (IOException. (str (try (ex-message problem) (catch Throwable _)))))
  (.violated listener connection
             (MilterException. MilterException$Category/UNEXPECTED_EVENT "broken"
                               (object-array ["value" event])))
  (.failed listener connection EventType/HEADER event problem)
  (.failed listener connection nil nil nil)
  (.refused listener nil nil)
  (.exchanged listener connection event [reply] 1))

(def ^:private failing
  (reify Object
    (toString [_] (throw (StackOverflowError.)))
    (hashCode [_] (throw (IllegalStateException.)))))

(defn- nasty-problem
  []
  (proxy [RuntimeException] []
    (getMessage [] (throw (OutOfMemoryError. "for this test")))))

(deftest every-report-is-one-printable-bounded-line
  (let [hostile (str "\u001b[2J\r\n2026 forged\u202e" (apply str (repeat 100000 "x")))]
    (support/with-logs logs
      (reported (listener/listener hostile nil) (connection hostile) (act/reply-code 550 "5.7.1" hostile)
                {:event :header, :name hostile, :value hostile} (Exception. hostile))
      (is (= 9 (count @logs)))
      (doseq [{:keys [message]} @logs]
        (is (<= (count message) 4000))
        (is (not-any? #(or (Character/isISOControl ^char %) (= \u202e %)) message))))))

(deftest nothing-in-a-reply-an-event-or-a-failure-makes-a-report-throw
  (are [reply event problem]
       (support/with-logs logs
         (reported (listener/listener "x" (fn [_] (throw (nasty-problem)))) (connection "p") reply event problem)
         (= 10 (count @logs)))
       (act/reply-code 550 "5.7.1" nil) {:event :mail} (Exception.)
       {:action failing} {:event failing, :x (range)} (nasty-problem)
       nil nil nil
       {} {:deep (nth (iterate vector failing) 1000)} (ex-info "x" {:y failing})))

(deftest no-text-is-made-for-a-level-that-is-off
  (let [asked (atom 0)]
    (with-redefs [log/*logger-factory* (reify logging/LoggerFactory
                                         (name [_] "off")
                                         (get-logger [_ _]
                                           (reify logging/Logger
                                             (enabled? [_ _] false)
                                             (write! [_ _ _ _] nil))))]
      (reported (listener/listener "x" nil)
                (reify ConnectionInfo
                  (id [_] (swap! asked inc))
                  (peer [_] (swap! asked inc) "")
                  (agreement [_] nil)
                  (macros [_] nil))
                (act/reject) {:event :mail} (Exception.)))
    (is (= 0 @asked))))

(deftest a-logging-back-end-that-fails-disturbs-no-mail
  (doseq [failure [#(throw (StackOverflowError.)) #(throw (Exception. "disk full"))]]
    (with-redefs [log/*logger-factory* (reify logging/LoggerFactory
                                         (name [_] "broken")
                                         (get-logger [_ _]
                                           (reify logging/Logger
                                             (enabled? [_ _] (failure))
                                             (write! [_ _ _ _] (failure)))))]
      (is (= :accept (:verdict (mt/run-message {:handlers {:header (fn [_ _])}} {}))))
      (testing "and a handler that fails still defers its mail"
        (is (= :temporary-failure
               (:verdict (mt/run-message {:handlers {:mail (fn [_ _] (throw (Exception. "no luck")))}} {}))))))))

(deftest a-reply-without-text-leaves-the-next-message-alone
  (support/with-logs _logs
    (let [filter {:handlers {:mail (fn [{:keys [sender]} _]
                                     (when (= "<bad@example.org>" sender)
                                       [(act/reply-code 550 "5.7.1" nil)]))}}]
      (milter/with-milter [server (assoc filter :port 0)]
        (with-open [session (mt/connect-to server)]
          (is (= [:reply-code :accept :accept]
                 [(:action (:reply (mt/run-message session {:sender "<bad@example.org>"})))
                  (:verdict (mt/run-message session {}))
                  (:verdict (mt/run-message session {}))])))))))

(deftest an-on-exchange-that-fails-is-logged-once-in-a-while
  (support/with-logs logs
    (let [f (listener/guarded "x" (fn [_] (throw (Exception. "no luck"))))]
      (dotimes [_ 100]
        (is (nil? (f {}))))
      (is (= ["x :on-exchange failed: no luck"] (support/messages logs :error)))
      (with-redefs [listener/quiet-nanos 0]
        (f {}))
      (is (string/ends-with? (peek (support/messages logs :error))
                             "no luck (and 99 times before that were not logged)")))))
