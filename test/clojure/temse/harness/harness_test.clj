(ns temse.harness.harness-test
  (:require
   [clojure.string :as str]
   [clojure.test :refer [deftest is]]
   [temse.harness.postfix :as postfix]
   [temse.harness.sink :as sink]
   [temse.harness.smtp :as smtp]
   [temse.runner :as runner])
  (:import
   (java.io File IOException)
   (java.net InetSocketAddress Socket SocketTimeoutException)))

(set! *warn-on-reflection* true)

(def ^:private every-octet
  "All octets but CR, LF and NUL, which no line of a mail may contain."
  (apply str (map char (remove #{0 10 13} (range 256)))))

(def ^:private mail
  {:sender (str (smtp/utf-8 "<jörg@example.org>") " BODY=8BITMIME SMTPUTF8")
   :recipients [(smtp/utf-8 "<δοκιμή@example.org>") "<\"a>b\"@example.org>"]
   :headers [["Subject" " one\r\n\ttwo\r\n  three"]
             ["subject" "no space"]
             ["X-Empty" ""]
             ["X-Octets" (str " " (smtp/utf-8 "grüße") " \u00e9\u00ff\u0080")]]
   :body (str ".\r\n..\r\n.dot\r\n\r\n \t \r\n" every-octet "\r\n"
              (str/join (repeat 4000 "one of the lines that make a large body of them\r\n"))
              ".\r\n")})

(def ^:private all-accepted
  {:greeting 220, :helo 250, :mail 250, :rcpt [250 250], :data 354, :message 250})

(defn- codes [replies]
  (update-vals replies #(if (vector? %) (mapv :code %) (:code %))))

(defn- run-with-postfix
  "Calls `f` with a Postfix started with `options` and with its sink, or skips the test."
  [options f]
  (when-let [reason (postfix/unavailable)]
    (runner/skip! reason))
  (with-open [sink (sink/start)
              postfix (postfix/start (assoc options :sink sink))]
    (f postfix sink)))

(deftest sink-shows-what-the-client-sent-byte-for-byte
  (with-open [sink (sink/start)]
    (is (= all-accepted (codes (smtp/send-mail (assoc mail :port (:port sink))))))
    (let [message (sink/await-message sink some?)]
      (is (= (smtp/utf-8 "<jörg@example.org>") (:sender message)))
      (is (= "BODY=8BITMIME SMTPUTF8" (:sender-parameters message)))
      (is (= (:recipients mail) (:recipients message)))
      (is (= (:headers mail) (sink/headers message)))
      (is (= (:body mail) (smtp/octets (sink/body message)))))))

(deftest sink-forgets-a-mail-whose-client-vanishes
  (with-open [sink (sink/start)]
    (with-open [client (smtp/connect sink)]
      (run! #(smtp/command client %) ["EHLO x" "MAIL FROM:<a@b>" "RCPT TO:<c@d>" "DATA"])
      (smtp/send-octets client "Subject: half a ma"))
    (smtp/send-mail (assoc mail :port (:port sink)))
    (is (= [(:recipients mail)]
           (do (sink/await-message sink some?)
               (mapv :recipients @(:messages sink)))))))

(deftest awaiting-a-mail-that-does-not-come-tells-what-came
  (with-open [sink (sink/start)]
    (smtp/send-mail (assoc mail :port (:port sink)))
    (let [e (try (sink/await-message sink #(= "<>" (:sender %)) 1)
                 (catch clojure.lang.ExceptionInfo e e))]
      (is (= [(:recipients mail)] (mapv :recipients (:arrived (ex-data e))))))))

(deftest mail-passes-postfix-byte-for-byte
  (run-with-postfix
    {}
    (fn [postfix sink]
      (is (= all-accepted (codes (smtp/send-mail (assoc mail :port (:port postfix))))))
      (let [message (sink/await-message sink some?)]
        (is (= (smtp/utf-8 "<jörg@example.org>") (:sender message)))
        (is (re-find #"BODY=8BITMIME SMTPUTF8" (:sender-parameters message)))
        (is (= (set (:recipients mail)) (set (:recipients message))))
        (is (= "Received" (ffirst (sink/headers message))))
        (is (= (:headers mail) (rest (sink/headers message))))
        (is (= (:body mail) (smtp/octets (sink/body message))))
        (is (empty? (postfix/hold-queue postfix)))))))

(deftest mail-is-deferred-when-no-milter-listens
  (with-open [unused (doto (Socket.) (.bind (InetSocketAddress. "127.0.0.1" 0)))]
    (let [milter (str "inet:127.0.0.1:" (.getLocalPort unused))]
      (run-with-postfix
        {:milters [milter]}
        (fn [postfix sink]
          (let [replies (smtp/send-mail (assoc mail :port (:port postfix)))]
            (is (= {:code 451, :lines ["4.7.1 Service unavailable - try again later"]}
                   (:mail replies)))
            (is (nil? (:message replies)))
            (is (= [] @(:messages sink)))))))))

(deftest main-parameters-of-a-test-are-stronger
  (run-with-postfix
    {:main {"myhostname" "other.example.org"}}
    (fn [postfix _]
      (with-open [client (smtp/connect postfix)]
        (is (str/starts-with? (-> client :greeting :lines first) "other.example.org"))))))

(deftest held-mail-is-in-the-hold-queue-and-goes-no-further
  (run-with-postfix
    {:main {"smtpd_sender_restrictions" "check_sender_access static:HOLD"}}
    (fn [postfix sink]
      (let [{[text] :lines} (:message (smtp/send-mail (assoc mail :port (:port postfix))))]
        (is (= [(re-find #"\w+$" text)] (postfix/hold-queue postfix)))
        (is (= [] @(:messages sink)))))))

(deftest stopped-postfix-drops-its-clients-and-leaves-no-files
  (run-with-postfix
    {}
    (fn [{:keys [stop ^File queue-directory] :as postfix} _]
      (with-open [client (smtp/connect postfix)]
        (is (= 0 (stop)))
        (is (= :dropped (try
                          (smtp/read-reply client)
                          (catch SocketTimeoutException _ :still-served)
                          (catch IOException _ :dropped))))
        (is (not (.exists (.getParentFile queue-directory))))))))
