(ns temse.fail-closed-test
  "Whatever fails in a filter, over a real socket: the mail is deferred, and each command gets its one
  reply."
  (:require
   [clojure.test :refer [deftest is testing]]
   [clojure.tools.logging :as log]
   [clojure.tools.logging.impl :as logging]
   [temse.action :as act]
   [temse.milter :as milter]
   [temse.support :as support]
   [temse.test :as mt])
  (:import
   (temse.client MtaSession)
   (temse.limits RawMta)))

(set! *warn-on-reflection* true)

(def ^:private failures
  "What handlers throw, by what it is."
  {"an exception" #(throw (Exception. "made up"))
   "an Error" #(throw (Error. "made up"))
   "no memory" #(throw (OutOfMemoryError. "made up"))
   "no stack" #(throw (StackOverflowError.))
   "an assertion" #(assert false "made up")
   "an exception without a message" #(throw (NullPointerException.))
   "an exception that cannot be printed" #(throw (proxy [RuntimeException] []
                                                   (getMessage [] (throw (Error. "unprintable")))
                                                   (toString [] (throw (Error. "unprintable")))))
   "a value that fails" #(let [p (promise)]
                           (deliver p (Exception. "made up"))
                           p)
   "no context" #(hash-map :a 1)
   "an endless sequence" #(repeat (act/accept))})

(def ^:private accepting
  {:end-of-message (fn [_ _] [(act/accept)])})

(defn- check-deferred
  "A mail whose sender is bad is deferred, another one on the same connection passes, before and after
  it."
  [handlers]
  (support/with-logs _logs
    (milter/with-milter [server {:port 0, :handlers handlers}]
      (with-open [^MtaSession session (mt/connect-to server)]
        (dotimes [_ 2]
          (is (= :accept (:verdict (mt/run-message session {:sender "<good@example.org>"}))))
          (is (= :temporary-failure
                 (:verdict (mt/run-message session {:sender "<bad@example.org>"})))))
        (is (= :accept (:verdict (mt/run-message session {:sender "<good@example.org>"}))))))))

(defn- failing-at
  "Returns handlers that accept, but for a bad sender whose event calls f; nothing answers that event."
  [event f]
  (let [bad? (fn [context] (= "<bad@example.org>" (:sender (milter/message context))))
        handlers (merge {:mail (fn [{:keys [sender]} context]
                                 (milter/update-message context assoc :sender sender))}
                        accepting)]
    (assoc handlers event
           (with-meta (fn [_ context]
                        (when (bad? context) (f)))
             {:no-reply true}))))

(deftest a-watcher-that-fails-defers-the-mail-and-no-other
  (doseq [event [:recipient :header :end-of-headers :body :data]
          [what f] failures]
    (testing [event what]
      (check-deferred (failing-at event f)))))

(deftest a-handler-of-end-of-message-that-only-watches-defers-by-failing
  (doseq [[what f] failures]
    (testing what
      (check-deferred (failing-at :end-of-message f)))))

(deftest a-watcher-of-the-client-that-fails-defers-its-mail
  (doseq [event [:connect :hello]
          [what f] failures]
    (testing [event what]
      (support/with-logs _logs
        (milter/with-milter [server {:port 0
                                     :handlers (assoc accepting event
                                                      (with-meta (fn [_ _] (f)) {:no-reply true}))}]
          (is (= :temporary-failure (:verdict (mt/run-message server {})))))))))

;; ---- logs that fail

(defn- failing-logs
  "Returns a logger factory each of whose parts fails that `broken` names."
  [broken]
  (let [check #(when (= % broken) (throw (Error. "the disk of the log is full")))]
    (reify logging/LoggerFactory
      (name [_] "failing")
      (get-logger [_ _]
        (check :get-logger)
        (reify logging/Logger
          (enabled? [_ _] (check :enabled?) true)
          (write! [_ _ _ _] (check :write!)))))))

(deftest a-log-that-fails-takes-no-temporary-failure-away
  (doseq [broken [:get-logger :enabled? :write!]
          event [:mail :header :end-of-message]]
    (testing [broken event]
      (with-redefs [log/*logger-factory* (failing-logs broken)]
        (milter/with-milter [server {:port 0
                                     :handlers (assoc accepting event
                                                      (fn [_ _] (throw (Exception. "made up"))))}]
          (with-open [^MtaSession session (mt/connect-to server)]
            (dotimes [_ 3]
              (is (= :temporary-failure (:verdict (mt/run-message session {})))))))))))

(defn- answers
  "Sends commands of which each gets a reply one after the other, each when the one before it was
  answered; returns the codes. One that came unasked would show at the next command."
  [^RawMta peer commands]
  (vec (for [[code payload] commands]
         (do (.send peer code payload)
             (.readCodes peer 1)))))

(deftest each-command-gets-one-reply-whatever-is-written-to-the-log
  (doseq [text ["as it should be" nil "" "\u0000\u0007" (apply str (repeat 5000 "x"))]
          broken [:nothing :get-logger :enabled? :write!]]
    (testing [text broken]
      (with-redefs [log/*logger-factory* (failing-logs broken)]
        (milter/with-milter [server {:port 0
                                     :handlers
                                     {:mail (fn [{:keys [sender]} _]
                                              (when (= "<bad@example.org>" sender)
                                                [(act/reply-code 550 "5.7.1" text)]))
                                      :recipient (fn [_ _] [(act/reject)])}}]
          (with-open [peer (RawMta/connect (int (milter/milter-port server)))]
            (.negotiate peer)
            (let [[bad & good] (answers peer [[\M "<bad@example.org>\u0000"]
                                              [\M "<a@example.org>\u0000"]
                                              [\R "<b@example.com>\u0000"]
                                              [\M "<a@example.org>\u0000"]
                                              [\R "<b@example.com>\u0000"]])]
              (is (#{"y" "t" "r"} bad))
              (is (= ["c" "r" "c" "r"] good)))))))))

(deftest reports-that-a-log-does-not-take-are-counted
  (doseq [broken [:get-logger :enabled? :write!]]
    (testing broken
      (with-redefs [log/*logger-factory* (failing-logs broken)]
        (milter/with-milter [server {:port 0, :handlers {:mail (fn [_ _] (throw (Exception. "made up")))}}]
          (is (= :temporary-failure (:verdict (mt/run-message server {}))))
          (is (<= 2 (:listener-failures (milter/milter-status server)))
              "that an MTA has negotiated, and that the handler has failed"))))))
