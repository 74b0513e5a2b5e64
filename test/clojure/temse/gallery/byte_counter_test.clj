(ns temse.gallery.byte-counter-test
  "gallery/byte_counter.clj: complete mails are counted, with the bytes of their bodies."
  (:require
   [clojure.test :refer [deftest is]]
   [temse.gallery.support :as support :refer [behind load-filter]]
   [temse.support :refer [messages with-logs]]
   [temse.test :as mt]))

(set! *warn-on-reflection* true)

(defn- lines
  [records]
  (filterv #(re-find #"\d mails, " %) (messages records :info)))

(deftest bytes-and-mails-add-up
  (with-logs records
    (with-open [session (mt/connect-to (load-filter "byte_counter"))]
      (is (= [:accept :accept :accept]
             (map #(:verdict (mt/run-message session {:body %})) ["12345\r\n" "" (byte-array 200000)]))))
    (is (= ["1 mails, 7 bytes; 7 of them in this one"
            "2 mails, 7 bytes; 0 of them in this one"
            "3 mails, 200009 bytes; 200002 of them in this one"]
           (lines records)))))

(deftest a-mail-that-is-broken-off-does-not-count
  (with-logs records
    (with-open [session (mt/connect-to (load-filter "byte_counter"))]
      (mt/send-event session {:event :mail :sender "<a@example.org>"})
      (mt/send-event session {:event :body :data (.getBytes "lost\r\n")})
      (mt/send-event session {:event :abort})
      (mt/run-message session {:body "12345\r\n"}))
    (is (= ["1 mails, 7 bytes; 7 of them in this one"] (lines records)))))

(defn- check
  [mta-name]
  (with-logs records
    (behind mta-name (load-filter "byte_counter") {}
            (fn [mta]
              (let [line (apply str (repeat 98 "x"))
                    body (apply str (repeat 3000 (str line "\r\n")))]
                (is (= body (:body (support/sent mta {:body body}))))
                (support/sent mta {:body "\r\n..\r\n.\r\n"}))))
    (is (= ["1 mails, 300000 bytes; 300000 of them in this one"
            "2 mails, 300009 bytes; 9 of them in this one"]
           (lines records)))))

(deftest behind-postfix-bytes-are-counted
  (check :postfix))

(deftest behind-sendmail-bytes-are-counted
  (check :sendmail))
