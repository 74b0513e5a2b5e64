(ns temse.foreign-answers-test
  "Answers that the protocol does not know, to a real MTA and to its model: both make the same of them."
  (:require
   [clojure.string :as string]
   [clojure.test :refer [deftest is testing]]
   [temse.action :as act]
   [temse.harness.postfix :as postfix]
   [temse.harness.raw-milter :as raw-milter]
   [temse.harness.sendmail :as sendmail]
   [temse.harness.sink :as sink]
   [temse.harness.smtp :as smtp]
   [temse.milter :as milter]
   [temse.runner :as runner]
   [temse.test :as mt])
  (:import
   (java.io Closeable IOException)
   (java.util.concurrent LinkedBlockingQueue TimeUnit)))

(set! *warn-on-reflection* true)

(def ^:private proceed [\c ""])

(def ^:private add [\h "X-A\u0000y\u0000"])

(defn- reply
  [text]
  [[\y (str text "\u0000")]])

(def ^:private answers
  "Scripts of the milter by what is odd in them."
  {"pieces of a body with another change between" {:end-of-message [[\b "one\r\n"] add [\b "two\r\n"] proceed]}
   "pieces of a body with progress between" {:end-of-message [[\b "one\r\n"] [\p ""] [\b "two\r\n"] proceed]}
   "CR LF in a value" {:end-of-message [[\h "X-A\u0000one\r\n two\u0000"] proceed]}
   "CR LF at the end of a value" {:end-of-message [[\h "X-A\u0000one\r\n\u0000"] proceed]}
   "CR LF in a changed value" {:end-of-message [[\m "\u0000\u0000\u0000\u0001X-Odd\u0000one\r\n\ttwo\u0000"] proceed]}
   "quarantine at MAIL" {:mail [[\q "why\u0000"] proceed]}
   "quarantine at RCPT" {:recipient [[\q "why\u0000"] proceed]}
   "quarantine at a header" {:header {1 [[\q "why\u0000"] proceed]}}
   "quarantine at the end of the header" {:end-of-headers [[\q "why\u0000"] proceed]}
   "quarantine at the body" {:body [[\q "why\u0000"] proceed]}
   "a change at a header" {:header {1 [add proceed]}}
   "a change at MAIL" {:mail [add proceed]}
   "progress at MAIL" {:mail [[\p ""] proceed]}
   "progress at a header" {:header {1 [[\p ""] proceed]}}
   "an unknown answer at a header" {:header {1 [[\Z ""]]}}
   "an unknown answer at MAIL" {:mail [[\Z ""]]}
   "an unknown answer at the end of the message" {:end-of-message [[\Z ""]]}
   "a reply with a payload" {:header {1 [[\c "x"]]}}
   "a change that was not agreed" {:actions 0x02, :end-of-message [add proceed]}
   "a body that was not agreed" {:actions 0x01, :end-of-message [[\b "new\r\n"] proceed]}
   "a reply code 250" {:mail (reply "250 2.0.0 fine")}
   "a reply without a code" {:mail (reply "oops")}
   "an enhanced code of another class" {:mail (reply "550 4.7.1 no")}
   "a % that is not doubled" {:mail (reply "550 5.7.1 100% no")}
   "the same at the end of the message" {:end-of-message (reply "550 5.7.1 100% no")}
   "lines of different codes" {:mail (reply "550-5.7.1 one\r\n451 5.7.1 two")}
   "skip at MAIL" {:mail [[\s ""]]}
   "skip at a header" {:header {1 [[\s ""]]}}
   "a reply too many at a header" {:header {1 [proceed [\r ""]]}}
   "a reply too many at RCPT" {:recipient [proceed [\t ""]]}
   "shutdown" {:mail [[\4 ""]]}
   "connection failure" {:mail [[\f ""]]}})

(def ^:private counter (atom 0))

(defn- mail
  []
  {:sender (str "<foreign" (swap! counter inc) "@example.org>")
   :recipients ["<b@example.com>"]
   :headers [["Subject" "hi"] ["X-Odd" "1"]]
   :body "hello\r\n"})

(defn- real-replies
  [{:keys [greeting helo mail rcpt data message]}]
  (let [text #(some-> % ((juxt :code (comp last :lines))))]
    {:greeting (:code greeting), :hello (:code helo), :mail (text mail), :recipients (mapv text rcpt)
     :data (text data), :message (text message)}))

(defn- model-replies
  [{:keys [greeting hello mail recipients data message]}]
  (let [text (fn [{:keys [smtp-code enhanced-code text] :as reply}]
               (when reply
                 [smtp-code (string/join " " (remove nil? [enhanced-code (last (string/split text #"\n" -1))]))]))]
    {:greeting (:smtp-code greeting), :hello (:smtp-code hello), :mail (text mail)
     :recipients (mapv text recipients), :data (text data), :message (text message)}))

(defn- without-queue-id
  [{[code] :message :as replies}]
  (cond-> replies
    (= 250 code) (assoc :message 250)))

(defn- own-headers
  [message]
  (filterv #(re-find #"^X-" (first %)) (sink/headers message)))

(defn- model-headers
  [{:keys [headers]}]
  (for [[field-name value raw] headers
        :when (re-find #"^X-" field-name)]
    [field-name (string/replace (or raw (str " " value)) "\n" "\r\n")]))

(defn- without-what-is-equal
  [model real]
  (when (not= model real)
    (into {} (for [k (into (set (keys model)) (keys real))
                   :when (not= (k model) (k real))]
               [k {:model (k model), :real (k real)}]))))

(defn- difference
  "Returns what a real MTA and its model make differently of the answers of a script, or nil."
  [{:keys [mta milter sink running held]} script mail]
  ((:use! milter) script)
  (let [before (count (held running))
        smtp (smtp/send-mail {:port (:port running)
                              :sender (:sender mail)
                              :recipients (:recipients mail)
                              :headers (map (fn [[k v]] [k (str " " v)]) (:headers mail))
                              :body (:body mail)})
        {:keys [fate message] :as report}
        (mt/run-message (str "inet:" (:port milter) "@127.0.0.1") mail {:mta mta, :timeout 10000})
        arrived (when (= :delivered fate)
                  (try
                    (sink/await-message sink #(= (:sender mail) (:sender %)) 5000)
                    (catch clojure.lang.ExceptionInfo _
                      nil)))]
    (without-what-is-equal
      (merge (without-queue-id (model-replies (:smtp report)))
             {:held (= :held fate)}
             (when (= :delivered fate)
               {:headers (model-headers message), :body (smtp/octets (:body message))}))
      (merge (without-queue-id (real-replies smtp))
             {:held (< before (count (held running)))}
             (when arrived
               {:headers (own-headers arrived), :body (smtp/octets (sink/body arrived))})))))

(defn- compare-answers
  "Compares what a real MTA and its model make of each answer."
  [mta start held milter-address]
  (with-open [milter (raw-milter/start)
              sink (sink/start)
              running ^Closeable (start {:sink sink, :milters [(milter-address (:port milter))]})]
    (doseq [[what script] answers
            :let [lab {:mta mta, :milter milter, :sink sink, :running running, :held held}]]
      (testing [mta what]
        (is (= nil (difference lab script (mail))))))))

(deftest postfix-and-its-model-make-the-same-of-foreign-answers
  (when-let [reason (postfix/unavailable)]
    (runner/skip! reason))
  (compare-answers :postfix postfix/start postfix/hold-queue #(str "inet:127.0.0.1:" %)))

(deftest sendmail-and-its-model-make-the-same-of-foreign-answers
  (when-let [reason (sendmail/unavailable)]
    (runner/skip! reason))
  (compare-answers :sendmail sendmail/start sendmail/quarantined #(str "inet:" % "@127.0.0.1")))

;; ---- what is said after a verdict

(def ^:private events
  [:connect :hello :mail :recipient :data :header :end-of-headers :body :end-of-message :abort])

(defn- watching
  "Returns a filter that answers one event, and a queue of what its connections have heard and how they
  have ended."
  [event reply]
  (let [connections (LinkedBlockingQueue.)
        said (atom [])
        note (fn [{:keys [event]} _] (swap! said conj event) nil)]
    [{:handlers (assoc (zipmap events (repeat note))
                       event (fn [e context] (note e context) [reply])
                       :disconnect (fn [{:keys [reason]} _]
                                     (.put connections [@said reason])
                                     nil))}
     connections]))

(def ^:private verdicts
  [[:connect (act/reject)] [:connect (act/accept)] [:connect (act/temporary-failure)]
   [:hello (act/reject)] [:hello (act/accept)]
   [:mail (act/reply-code 421 "4.7.0" "bye")] [:recipient (act/reply-code 421 "4.7.0" "bye")]
   [:header (act/reply-code 421 "4.7.0" "bye")] [:end-of-message (act/reply-code 421 "4.7.0" "bye")]])

(defn- check-endings
  [mta start milter-address]
  (doseq [[event reply] verdicts]
    (testing [mta event (:action reply)]
      (let [[filter ^LinkedBlockingQueue connections] (watching event reply)
            [model ^LinkedBlockingQueue of-model] (watching event reply)]
        (with-open [server ^Closeable (milter/start-milter (assoc filter :port 0, :daemon? true))
                    sink (sink/start)
                    running ^Closeable (start {:sink sink, :milters [(milter-address server)]})]
          (try
            (smtp/send-mail {:port (:port running), :recipients ["<a@example.org>" "<b@example.org>"]
                             :headers [["Subject" " hi"]]})
            (catch IOException _))
          (mt/run-message model
                          {:recipients ["<a@example.org>" "<b@example.org>"], :headers [["Subject" "hi"]]}
                          {:mta mta})
          (is (= (.poll of-model 1 TimeUnit/SECONDS) (.poll connections 10 TimeUnit/SECONDS))))))))

(deftest postfix-and-its-model-say-the-same-after-a-verdict
  (when-let [reason (postfix/unavailable)]
    (runner/skip! reason))
  (check-endings :postfix postfix/start #(str "inet:127.0.0.1:" (milter/milter-port %))))

(deftest sendmail-and-its-model-say-the-same-after-a-verdict
  (when-let [reason (sendmail/unavailable)]
    (runner/skip! reason))
  (check-endings :sendmail sendmail/start milter/milter-address))
