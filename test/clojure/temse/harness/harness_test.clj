(ns temse.harness.harness-test
  (:require
   [clojure.java.io :as io]
   [clojure.string :as str]
   [clojure.test :refer [deftest is testing]]
   [temse.harness.postfix :as postfix]
   [temse.harness.sink :as sink]
   [temse.harness.smtp :as smtp]
   [temse.runner :as runner])
  (:import
   (java.io IOException)
   (java.net InetSocketAddress Socket)))

(set! *warn-on-reflection* true)

(defn- run-with-postfix
  "Calls `f` with a Postfix started with `options` and its sink, or skips the test."
  [options f]
  (if-let [reason (postfix/why-unavailable)]
    (runner/skip! reason)
    (with-open [sink (sink/start)
                postfix (postfix/start (assoc options :sink sink))]
      (f postfix sink))))

(def ^:private every-octet
  "All bytes but CR, LF and NUL, which no line of a mail may contain."
  (apply str (map char (remove #{0 10 13} (range 256)))))

(deftest mail-passes-postfix-byte-for-byte
  (run-with-postfix
   {}
   (fn [postfix sink]
     (let [headers [["Subject" " one\r\n\ttwo\r\n  three"]
                    ["subject" "no space"]
                    ["X-Empty" ""]
                    ["X-Octets" (str " " (smtp/utf-8 "grüße") " \u00e9\u00ff\u0080")]]
           body (str ".\r\n..\r\n.dot\r\n\r\n \t \r\n" every-octet "\r\n"
                     (str/join (repeat 3000 "0123456789 lines that make a large body ........\r\n"))
                     ".\r\n")
           sender (smtp/utf-8 "<jörg@example.org>")
           recipients [(smtp/utf-8 "<δοκιμή@example.org>") "<\"a>b\"@example.org>"]
           replies (smtp/send-mail {:port (:port postfix)
                                    :sender (str sender " BODY=8BITMIME SMTPUTF8")
                                    :recipients recipients
                                    :headers headers
                                    :body body})
           message (sink/await-message sink some?)]
       (is (= {:greeting 220, :helo 250, :mail 250, :rcpt [250 250], :data 354, :message 250}
              (-> replies
                  (update-vals #(if (map? %) (:code %) (mapv :code %))))))
       (is (= sender (:sender message)))
       (is (= (set recipients) (set (:recipients message))))
       (is (re-find #"BODY=8BITMIME" (:sender-parameters message)))
       (is (re-find #"SMTPUTF8" (:sender-parameters message)))
       (is (= "Received" (ffirst (sink/headers message))))
       (is (= headers (rest (sink/headers message))))
       (is (= body (smtp/octets (sink/body message))))))))

(deftest mail-is-deferred-when-no-milter-listens
  (let [unused (doto (Socket.) (.bind (InetSocketAddress. "127.0.0.1" 0)))
        milter (str "inet:127.0.0.1:" (.getLocalPort unused))]
    (with-open [_ unused]
      (run-with-postfix
       {:milters [milter]}
       (fn [postfix sink]
         (let [replies (smtp/send-mail {:port (:port postfix), :hello "HELO client.example.org"})]
           (is (= 451 (get-in replies [:mail :code] (get-in replies [:helo :code]))))
           (is (nil? (:message replies)))
           (is (str/includes? ((:log postfix)) milter))
           (is (= [] @(:messages sink)))))))))
