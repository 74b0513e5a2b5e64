(ns temse.outage-test
  "temse.outage: a line when an outage begins, and one when it is over."
  (:require
   [clojure.string :as string]
   [clojure.test :refer [deftest is testing]]
   [clojure.tools.logging :as log]
   [clojure.tools.logging.impl]
   [temse.outage :as outage :refer [failed! outage worked!]]
   [temse.support :refer [awaited thrown with-logs]])
  (:import
   (clojure.tools.logging.impl Logger LoggerFactory)
   (java.io IOException)
   (java.util.concurrent CyclicBarrier)))

(set! *warn-on-reflection* true)

(defn- at
  "Has seconds have passed for the calls of f."
  [seconds f]
  (with-redefs [outage/now (constantly (* 1000000000 (long seconds)))]
    (f)))

(defn- lines
  [records]
  (mapv (juxt :level :message) @records))

(deftest an-outage-has-a-line-when-it-begins-and-one-when-it-is-over
  (let [spamd (outage "spamd" {:meanwhile "mail is deferred"})]
    (with-logs records
      (worked! spamd)
      (is (= [] (lines records)))
      (at 10 #(dotimes [_ 100] (failed! spamd (IOException. "refused"))))
      (is (= [[:error "spamd is down, and mail is deferred: refused"]] (lines records)))
      (at 25 #(dotimes [_ 100] (worked! spamd)))
      (is (= [:info "spamd is back after 15 s"] (peek (lines records))))
      (is (= 2 (count @records))))))

(deftest a-log-that-fails-is-no-failure-of-what-notes-something
  (let [thrower (reify LoggerFactory
                  (name [_] "fails")
                  (get-logger [_ _] (reify Logger
                                      (enabled? [_ _] true)
                                      (write! [_ _ _ _] (throw (StackOverflowError. "the log fails"))))))
        spamd (outage "spamd")]
    (binding [log/*logger-factory* thrower]
      (is (nil? (failed! spamd (proxy [Exception] []
                                 (getMessage [] (throw (IllegalStateException. "no message")))))))
      (is (nil? (worked! spamd))))))

(deftest what-comes-and-goes-has-two-lines-a-minute-at-most
  (let [scanner (outage "scanner")]
    (with-logs records
      (doseq [second (range 120)]
        (at second #(do (failed! scanner "refused")
                        (worked! scanner))))
      (is (= 4 (count @records)))
      (testing "and one that goes on is logged then"
        (at 120 #(failed! scanner "refused"))
        (at 121 #(worked! scanner))
        (at 122 #(failed! scanner "refused"))
        (is (= 6 (count @records)))
        (at 180 #(failed! scanner "still refused"))
        (is (= [:error "scanner is down, and what needs it fails: still refused"] (peek (lines records))))
        (at 182 #(worked! scanner))
        (is (= [:info "scanner is back after 60 s"] (peek (lines records))))))))

(deftest so-many-failures-in-turn-are-an-outage
  (let [dns (outage "DNS" {:failures 3})]
    (with-logs records
      (dotimes [_ 5]
        (failed! dns "timeout")
        (failed! dns "timeout")
        (worked! dns))
      (is (= [] (lines records)))
      (dotimes [_ 3] (failed! dns "timeout"))
      (is (= 1 (count @records))))))

(deftest threads-that-fail-together-write-one-line
  (let [scanner (outage "scanner")
        barrier (CyclicBarrier. 8)]
    (with-logs records
      (run! awaited (doall (repeatedly 8 #(future (.await barrier) (failed! scanner "refused")))))
      (is (= 1 (count @records)))
      (run! awaited (doall (repeatedly 8 #(future (.await barrier) (worked! scanner)))))
      (is (= 2 (count @records))))))

(deftest a-problem-is-one-printable-line
  (with-logs records
    (failed! (outage "a") "x\ny\u001b[31m")
    (failed! (outage "b") (IOException.))
    (failed! (outage "c") (string/join (repeat 1000 "z")))
    (let [[a b c] (map :message @records)]
      (is (string/ends-with? a ": x\\ny\\u001b[31m"))
      (is (string/ends-with? b ": java.io.IOException"))
      (is (< (count c) 600)))))

(deftest mistakes-say-what-is-right
  (is (string/includes? (:message (thrown (outage "a" {:failure 2}))) "did you mean :failures?"))
  (is (string/includes? (:message (thrown (outage "a" {:failures 0}))) "1 or more"))
  (is (string/includes? (:message (thrown (outage nil))) "a string, not nil"))
  (is (string/includes? (:message (thrown (worked! nil))) "temse.outage/outage returned, not nil")))
