(ns temse.harness.sendmail-harness-test
  (:require
   [clojure.string :as str]
   [clojure.test :refer [deftest is]]
   [temse.action :as act]
   [temse.harness.sendmail :as sendmail]
   [temse.harness.sink :as sink]
   [temse.harness.smtp :as smtp]
   [temse.milter :as milter]
   [temse.runner :as runner])
  (:import
   (clojure.lang ExceptionInfo)
   (java.io Closeable File IOException)
   (java.net InetSocketAddress Socket)))

(set! *warn-on-reflection* true)

(def ^:private every-octet
  "All octets but CR, LF and NUL, which no line of a mail may contain."
  (apply str (map char (remove #{0 10 13} (range 256)))))

(def ^:private mail
  {:sender "<sender@example.org> BODY=8BITMIME"
   :recipients ["<one@example.org>" "<\"a>b\"@example.org>" "<root>"]
   :headers [["Subject" " one\r\n\ttwo\r\n  three"]
             ["subject" "no space"]
             ["X-Empty" ""]
             ["X-Octets" " \u00e9\u00ff\u0080"]]
   :body (str ".\r\n..\r\n.dot\r\n\r\n \t \r\n" every-octet "\r\n"
              (str/join (repeat 4000 "one of the lines that make a large body of them\r\n"))
              ".\r\n")})

(defn- run-with-sendmail
  "Calls `f` with a Sendmail started with `options` and with its sink, or skips the test."
  [options f]
  (when-let [reason (sendmail/unavailable)]
    (runner/skip! reason))
  (with-open [sink (sink/start)
              mta (sendmail/start (assoc options :sink sink))]
    (f mta sink)))

(defn- run-with-silent-port
  "Calls `f` with a port at which nobody listens."
  [f]
  (with-open [unused (doto (Socket.) (.bind (InetSocketAddress. "127.0.0.1" 0)))]
    (f (.getLocalPort unused))))

(defn- transact [mta]
  (smtp/send-mail (assoc mail :port (:port mta))))

(deftest mail-passes-sendmail-byte-for-byte
  (run-with-sendmail
    {}
    (fn [mta sink]
      (is (= 250 (:code (:message (transact mta)))))
      (let [[message & others] @(:messages sink)
            headers (sink/headers message)]
        (is (nil? others))
        (is (= "<sender@example.org>" (:sender message)))
        (is (str/includes? (:sender-parameters message) "BODY=8BITMIME"))
        (is (= #{"<one@example.org>" "<\"a>b\"@example.org>" "<root@[127.0.0.1]>"}
               (set (:recipients message))))
        (is (= ["Received" "Date" "From" "Message-Id"] (map first (drop-last 4 headers))))
        (is (= (:headers mail) (take-last 4 headers)))
        (is (= (:body mail) (smtp/octets (sink/body message))))
        (is (str/includes? ((:log mta)) "stat=Sent"))))))

(deftest mail-is-deferred-when-no-milter-listens
  (run-with-silent-port
    (fn [port]
      (run-with-sendmail
        {:milters [(str "inet:" port "@127.0.0.1")]}
        (fn [mta sink]
          (let [replies (transact mta)]
            (is (= 451 (:code (:mail replies))))
            (is (nil? (:message replies)))
            (is (str/includes? ((:log mta)) "Milter (milter0): error connecting to filter"))
            (is (= [] @(:messages sink)))))))))

(deftest failure-says-what-becomes-of-mail-without-a-milter
  (run-with-silent-port
    (fn [port]
      (doseq [[failure code] {"R" 554, "4" 421, "" 220}]
        (run-with-sendmail
          {:milters [(str "inet:" port "@127.0.0.1")] :failure failure}
          (fn [mta _]
            (with-open [client (smtp/connect mta)]
              (is (= code (:code (:greeting client)))))))))))

(defn- quarantine [_ context]
  (milter/respond context (act/quarantine "too odd")))

(deftest quarantined-mail-stays-in-the-queue-with-its-reason
  (with-open [^Closeable filter (milter/start-milter {:address "inet:0@127.0.0.1"
                                                      :daemon? true
                                                      :handlers {:end-of-message quarantine}})]
    (run-with-sendmail
      {:milters [(str "inet:" (milter/milter-port filter) "@127.0.0.1")]}
      (fn [mta sink]
        (let [{[text] :lines} (:message (transact mta))
              [_ id] (re-find #"^2\.0\.0 (\w+) " text)]
          (is (= {id "too odd"} (sendmail/quarantined mta)))
          (is (= [] @(:messages sink))))))))

(deftest sendmail-options-of-a-test-are-stronger
  (run-with-sendmail
    {:options {"SmtpGreetingMessage" "other.example.org ready"}}
    (fn [mta _]
      (with-open [client (smtp/connect mta)]
        (is (= ["other.example.org ESMTP ready"] (:lines (:greeting client))))))))

(deftest sendmail-that-does-not-start-says-why
  (is (thrown-with-msg? ExceptionInfo #"NoSuchMilter"
        (run-with-sendmail {:options {"InputMailFilters" "NoSuchMilter"}} (constantly nil)))))

(deftest stopped-sendmail-drops-its-clients-and-leaves-no-files
  (run-with-sendmail
    {}
    (fn [{:keys [stop ^File queue-directory] :as mta} _]
      (with-open [client (smtp/connect mta)]
        (is (= 0 (stop)))
        (is (thrown? IOException (smtp/read-reply client)))
        (is (not (.exists (.getParentFile queue-directory))))))))
