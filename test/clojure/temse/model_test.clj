(ns temse.model-test
  "One model of the MTA: what it says, its verdict, what the SMTP client hears and what is delivered
  agree, whatever the filter answers."
  (:require
   [clojure.string :as string]
   [clojure.test :refer [are deftest is testing]]
   [clojure.test.check.clojure-test :refer [defspec]]
   [clojure.test.check.generators :as gen]
   [clojure.test.check.properties :as prop]
   [temse.action :as act]
   [temse.mta :as mta]
   [temse.test :as mt])
  (:import
   (temse.client MtaSession)
   (temse.protocol ActionCodec MilterException)))

(set! *warn-on-reflection* true)

(def ^:private mtas [:postfix :sendmail])

(defn- answering
  "Returns a filter that answers one event with the actions."
  [event actions]
  {:handlers {event (fn [_ _] (vec actions))}})

(def ^:private watchers
  (zipmap [:connect :hello :mail :recipient :data :header :end-of-headers :body :end-of-message]
          (repeat (fn [_ _]))))

(defn- eom
  [& actions]
  (answering :end-of-message actions))

;; ---- what ends a conversation

(deftest both-mtas-hang-up-at-a-421-at-every-event
  (doseq [mta mtas
          event (keys watchers)
          :let [said (atom [])
                note (fn [e _] (swap! said conj (:event e)) nil)
                reply (fn [e _] (swap! said conj (:event e)) [(act/reply-code 421 "4.7.0" "closing")])
                filter {:handlers (assoc (update-vals watchers (constantly note)) event reply)}]]
    (testing [mta event]
      (with-open [session (mt/connect-to filter {:mta mta})]
        (let [{:keys [verdict at fate reply]} (mt/run-message session {:recipients ["<b@example.com>" "<c@example.com>"]})]
          (is (= [:temporary-failure event :deferred 421] [verdict at fate (:smtp-code reply)]))
          (is (= event (peek @said)) "nothing is said after it")
          (is (not (.isOpen ^MtaSession session)))
          (testing "and all further mail of the client is deferred"
            (is (= [:temporary-failure :deferred]
                   ((juxt :verdict :fate) (mt/run-message session {}))))))))))

(deftest a-refused-last-recipient-does-not-hide-that-another-was-taken
  (let [refuse-c (fn [{:keys [address]} _]
                   (when (= "<c@example.com>" address) [(act/reject)]))]
    (doseq [mta mtas]
      (is (= [:accept :delivered ["<b@example.com>"]]
             ((juxt :verdict :fate (comp :recipients :message))
              (mt/run-message {:handlers {:recipient refuse-c}}
                              {:recipients ["<b@example.com>" "<c@example.com>"]}
                              {:mta mta})))))))

(deftest a-deferred-recipient-among-refused-ones-defers-the-mail
  (let [replies {"<b@example.com>" [(act/temporary-failure)], "<c@example.com>" [(act/reject)]}]
    (doseq [mta mtas
            recipients [["<b@example.com>" "<c@example.com>"] ["<c@example.com>" "<b@example.com>"]]]
      (is (= [:temporary-failure :recipient :deferred]
             ((juxt :verdict :at :fate)
              (mt/run-message {:handlers {:recipient (fn [{:keys [address]} _] (replies address))}}
                              {:recipients recipients}
                              {:mta mta})))))))

(deftest a-mail-without-recipients-is-refused-by-the-mta-itself
  (are [mta reply] (= [:reject :data :refused nil reply]
                      ((juxt :verdict :at :fate :message
                             (comp (juxt :smtp-code :enhanced-code :text) :data :smtp))
                       (mt/run-message {:handlers watchers} {:recipients []} {:mta mta})))
    :postfix [554 "5.5.1" "Error: no valid recipients"]
    :sendmail [503 "5.0.0" "Need RCPT (recipient)"]))

(deftest after-a-verdict-on-the-client-postfix-closes-without-quit-and-sendmail-says-it
  (doseq [[event actions] [[:connect [(act/reject)]] [:connect [(act/accept)]]
                           [:hello [(act/temporary-failure)]] [:hello [(act/accept)]]]
          [mta reason] [[:postfix :connection-lost] [:sendmail :quit]]]
    (testing [mta event actions]
      (let [ends (atom [])]
        (mt/run-message (assoc-in (answering event actions) [:handlers :disconnect]
                                  (fn [{:keys [reason]} _] (swap! ends conj reason) nil))
                        {}
                        {:mta mta})
        (is (= [reason] @ends))))))

;; ---- whatever the codec lets pass

(deftest an-empty-address-changes-nothing
  (doseq [mta mtas
          action [(act/delete-recipient "<>") (act/delete-recipient ",") (act/add-recipient "<>")]]
    (is (= ["<recipient@example.com>"]
           (:recipients (:message (mt/run-message (eom action) {} {:mta mta})))))))

(def ^:private odd-text
  (gen/one-of
    [gen/string
     gen/string-ascii
     (gen/elements ["" " " "<>" "<" ">" "<@>" "<,>" "," "@" "\"" "<\"a b\"@c>" "a,b" "<a@b>,<c@d>"
                    "(c" "\\" "%" "%%" "%s" "5" "5.7.1" "421" "a\r\n b" "a\n\tb" "\n x" "caf\u00e9"
                    "\udcff" "=" "NOTIFY=" "=x" ":" ";" "x:y;" "[" "[1.2.3.4]" "<@a,@b:c@d>"])
     (gen/fmap #(apply str (repeat % "0123456789")) (gen/elements [99 5999 6000 6001 6500]))]))

(def ^:private odd-number
  (gen/elements [0 1 2 3 100 65536 2147483647 (int 1) (short 2)]))

(def ^:private parameters
  (gen/one-of [(gen/return nil) odd-text (gen/vector odd-text 0 3)]))

(def ^:private odd-action
  (gen/one-of
    [(gen/hash-map :action (gen/elements [:add-header :insert-header]) :name odd-text
                   :value odd-text :position (gen/one-of [(gen/return nil) odd-number]))
     (gen/hash-map :action (gen/return :change-header) :name odd-text
                   :value (gen/one-of [(gen/return nil) odd-text]) :index odd-number)
     (gen/hash-map :action (gen/return :delete-header) :name (gen/elements ["X-A" "Received" "From"])
                   :index odd-number)
     (gen/hash-map :action (gen/elements [:add-recipient :change-sender]) :address odd-text
                   :parameters parameters)
     (gen/hash-map :action (gen/return :delete-recipient) :address odd-text)
     (gen/hash-map :action (gen/return :quarantine) :reason odd-text)
     (gen/hash-map :action (gen/elements [:change-body :replace-body])
                   :body (gen/one-of [odd-text gen/bytes (gen/vector odd-text 0 3)]))
     (gen/hash-map :action (gen/return :reply-code) :smtp-code (gen/elements [400 421 450 499 500 550 554 599])
                   :enhanced-code (gen/elements [nil "4.7.1" "5.7.1"])
                   :text (gen/one-of [(gen/return nil) odd-text]))
     (gen/elements [{:action :progress} {:action :continue} {:action :accept} {:action :reject}
                    {:action :temporary-failure} {:action :discard} {:action :skip}
                    {:action :shutdown} {:action :connection-failure}])]))

(defn- legal?
  [action]
  (try
    (ActionCodec/check action)
    true
    (catch MilterException _
      false)))

(def ^:private legal-action
  (gen/such-that legal? odd-action 1000))

(def ^:private legal-answer
  "Changes and progress, and a reply or none."
  (gen/let [actions (gen/vector legal-action 0 6)]
    (let [reply? #(act/reply? %)]
      (into (filterv (complement reply?) actions) (take 1 (filter reply? actions))))))

(def ^:private odd-line
  "What can be sent in an SMTP command."
  (gen/fmap #(string/replace % #"[\x{0}\r\n]" "") odd-text))

(def ^:private odd-name
  (gen/fmap #(str "X" (string/replace % #"[\x{0}-\x{20}\x{7F}:]" "")) odd-text))

(def ^:private odd-message
  (gen/hash-map :sender odd-line
                :options (gen/vector odd-line 0 2)
                :recipients (gen/vector odd-line 0 3)
                :recipient-options (gen/vector (gen/vector odd-line 0 2) 0 4)
                :headers (gen/vector (gen/one-of [(gen/tuple odd-name odd-text)
                                                  (gen/tuple odd-name odd-text odd-text)
                                                  (gen/tuple (gen/elements ["From" "received" "X-A"])
                                                             odd-text)])
                                     0 4)
                :body (gen/fmap #(.getBytes ^String %) odd-text)))

(def ^:private events
  [:connect :hello :mail :recipient :data :header :end-of-headers :body :end-of-message])

(defspec nothing-that-the-codec-lets-pass-and-no-message-that-can-be-sent-makes-the-simulation-throw 150
  (prop/for-all [message odd-message
                 event (gen/elements events)
                 answer legal-answer
                 last-answer legal-answer
                 mta (gen/elements mtas)]
    (contains? #{:delivered :held :refused :deferred :discarded :no-recipients}
               (:fate (mta/outcome
                        {:mta mta
                         :message message
                         :conversation [{:event {:event event, :address (first (:recipients message))}
                                         :response answer}
                                        {:event {:event :end-of-message}
                                         :response last-answer}]})))))

(def ^:private early-replies
  "Replies at events before the end of the message, by event."
  (gen/map (gen/elements [:connect :hello :mail :recipient :data :header :end-of-headers :body])
           (gen/fmap vector (gen/such-that #(and (act/reply? %) (not (#{:skip :discard} (:action %))))
                                           legal-action 1000))
           {:max-elements 1}))

(def ^:private fates
  {:accept #{:delivered :held :no-recipients}
   :reject #{:refused}
   :temporary-failure #{:deferred :refused}
   :discard #{:discarded}})

(defspec the-verdict-is-what-becomes-of-the-mail 100
  (prop/for-all [early early-replies
                 answer legal-answer
                 recipients (gen/vector (gen/elements ["<b@example.com>" "<c@example.com>" "<b@EXAMPLE.com>"]) 0 3)
                 mta (gen/elements mtas)]
    (let [answers (assoc early :end-of-message answer)
          {:keys [verdict fate smtp message]}
          (mt/run-message {:handlers (update-vals answers (fn [actions] (fn [_ _] actions)))}
                          {:recipients recipients}
                          {:mta mta})]
      (and (contains? (fates verdict) fate)
           (= (some? message) (contains? #{:delivered :held} fate))
           (= (contains? #{:delivered :held :no-recipients :discarded} fate)
              (= 250 (:smtp-code (:message smtp))))))))
