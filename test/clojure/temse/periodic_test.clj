(ns temse.periodic-test
  "Work at intervals."
  (:require
   [clojure.test :refer [deftest is]]
   [temse.periodic :as periodic]
   [temse.support :refer [awaited thrown with-logs]])
  (:import
   (java.util.concurrent CountDownLatch TimeUnit)))

(set! *warn-on-reflection* true)

(defn- await-latch
  [^CountDownLatch latch]
  (is (.await latch 10 TimeUnit/SECONDS)))

(deftest work-is-repeated-until-it-is-stopped
  (let [latch (CountDownLatch. 3)]
    (periodic/every ::repeated 1 #(.countDown latch))
    (await-latch latch)
    (periodic/stop ::repeated)
    (let [calls (atom 0)]
      ;; What is started later, on the same thread, comes after what might still be called.
      (periodic/every ::repeated 1 #(swap! calls inc))
      (periodic/stop ::repeated)
      (let [seen @calls
            later (CountDownLatch. 3)]
        (periodic/every ::later 1 #(.countDown later))
        (await-latch later)
        (periodic/stop ::later)
        (is (<= @calls (inc (long seen))))))))

(deftest a-later-start-replaces-work-of-the-same-key
  (let [called (atom [])
        latch (CountDownLatch. 3)]
    (periodic/every ::key 3600000 #(swap! called conj :first))
    (periodic/every ::key 1 #(do (swap! called conj :second) (.countDown latch)))
    (await-latch latch)
    (periodic/stop ::key)
    (is (= #{:second} (set @called)))))

(deftest work-never-overlaps
  (let [running (atom 0)
        most (atom 0)
        latch (CountDownLatch. 20)
        work (fn []
               (swap! most max (swap! running inc))
               (Thread/yield)
               (swap! running dec)
               (.countDown latch))]
    (periodic/every ::one 1 work)
    (periodic/every ::other 1 work)
    (await-latch latch)
    (run! periodic/stop [::one ::other])
    (is (= 1 @most))))

(deftest what-fails-is-called-again-and-logged-once
  (with-logs records
    (let [calls (atom 0)
          latch (CountDownLatch. 6)]
      (periodic/every [::failing {:password "secret"}] 1
                      (fn []
                        (.countDown latch)
                        (when (< (long (swap! calls inc)) 4)
                          (throw (AssertionError. "broken")))))
      (await-latch latch)
      (periodic/stop [::failing {:password "secret"}])
      (is (= [{:level :error
               :message "the periodic work :temse.periodic-test/failing failed: broken"}]
             (map #(select-keys % [:level :message]) @records))))))

(deftest it-does-not-keep-the-process
  (let [thread (promise)]
    (periodic/every ::thread 1 #(deliver thread (Thread/currentThread)))
    (is (.isDaemon ^Thread (awaited thread)))
    (periodic/stop ::thread)))

(deftest the-interval-is-checked
  (is (= "the interval must be milliseconds, 1 or more, not 0"
         (:message (thrown (periodic/every ::wrong 0 (constantly nil)))))))
