(ns temse.blocked-log-test
  "A logging back end whose write does not return, as to a pipe that nobody reads."
  (:require
   [clojure.test :refer [deftest is]]
   [clojure.tools.logging :as log]
   [clojure.tools.logging.impl :as logging]
   [temse.action :as act]
   [temse.milter :as milter]
   [temse.support :as support]
   [temse.test :as mt])
  (:import
   (java.util.concurrent CountDownLatch)
   (java.util.concurrent.atomic AtomicInteger)
   (temse.limits RawMta)))

(set! *warn-on-reflection* true)

(defn- blocking-errors
  "Returns a logger factory whose errors are written when the latch is open; it counts those that wait."
  [^CountDownLatch open ^AtomicInteger waiting]
  (reify logging/LoggerFactory
    (name [_] "blocking")
    (get-logger [_ _]
      (reify logging/Logger
        (enabled? [_ level] (= :error level))
        (write! [_ _ _ _]
          (.incrementAndGet waiting)
          (.await open))))))

(deftest a-log-that-blocks-holds-up-the-connections-that-log-and-no-other
  (let [open (CountDownLatch. 1)
        waiting (AtomicInteger.)
        failing 20]
    (with-redefs [log/*logger-factory* (blocking-errors open waiting)]
      (milter/with-milter [server {:port 0
                                   :handlers {:mail (fn [{:keys [sender]} _]
                                                      (when (= "<bad@example.org>" sender)
                                                        (throw (Exception. "made up"))))
                                              :end-of-message (fn [_ _] [(act/accept)])}}]
        (let [peers (vec (repeatedly failing #(.negotiate (RawMta/connect (int (milter/milter-port server))))))]
          (try
            (doseq [^RawMta peer peers]
              (.sendMessage peer "<bad@example.org>"))
            (support/await-true #(= failing (.get waiting)))
            (dotimes [_ 5]
              (is (= :accept (:verdict (mt/run-message server {})))))
            (.countDown open)
            (doseq [^RawMta peer peers]
              (is (= \t (.readVerdict peer))))
            (finally
              (.countDown open)
              (run! #(.close ^RawMta %) peers))))))))
