(ns temse.test-conversation-test
  "temse.test: whole conversations with expectations, and checks for clojure.test."
  (:require
   [clojure.java.io :as io]
   [clojure.string :as string]
   [clojure.test :as test :refer [are deftest is testing]]
   [temse.action :as act]
   [temse.milter :as milter :refer [respond]]
   [temse.support :refer [thrown]]
   [temse.test :as mt]
   [temse.test.expect :as expect])
  (:import
   (temse.protocol MilterException)))

(set! *warn-on-reflection* true)

(defn- on-mail
  [_event context]
  (when-not (= "alice" (milter/get-macro context "auth_authen"))
    [(act/reject)]))

(defn- on-header
  [{:keys [name value]} context]
  (milter/update-message context assoc name value))

(defn- on-body
  [{:keys [data]} context]
  (milter/update-message context update :size (fnil + 0) (alength ^bytes data)))

(defn- on-end-of-message
  [_event context]
  (let [{:strs [Subject] :keys [size]} (milter/message context)]
    (if (= "lottery" Subject)
      (respond context (act/reply-code 550 "5.7.1" "No lottery today"))
      (respond context (act/add-header "X-Size" (str size)) (act/accept)))))

(def ^:private options
  {:handlers {:mail #'on-mail
              :header #'on-header
              :body #'on-body
              :end-of-message #'on-end-of-message}
   :actions #{:add-header}})

(def ^:private lottery
  (io/resource "conversations/lottery.edn"))

(defn- after
  "Returns the exchanges of a message to its end, whose answer is expected."
  [subject response]
  [{:event {:event :mail, :sender "<a@example.org>"}}
   {:event {:event :header, :name "Subject", :value subject}}
   {:event {:event :end-of-message}, :response response}])

(defn- with-login
  [conversation]
  (into [{:event {:event :define-macro, :stage :mail, :definitions {"auth_authen" "alice"}}}]
        conversation))

;; Expectations

(deftest a-value-is-as-expected-or-not
  (are [expected actual wrong] (= [true false] (map #(expect/matches? expected %) [actual wrong]))
    1 1 2
    "a" "a" "ab"
    "a" (.getBytes "a") (.getBytes "b")
    (.getBytes "a") (.getBytes "a") "b"
    #"b+" "abbc" "ac"
    #"b+" (.getBytes "abbc") 1
    '#{1 2} 2 3
    #{:add-header} #{:add-header} #{:add-header :quarantine}
    {:a 1} {:a 1} {:a 1, :b 2}
    '{:a 1, _ _} {:a 1, :b 2} {:b 2}
    '{:a _} {:a 1} {:b 1}
    {:a 1, :b nil} {:a 1} {:a 1, :b 2}
    [1 2] [1 2] [1 2 3]
    '[1 _] [1 2] [1]
    '[1 ...] [1 2 3] [2 1]
    '[... 3] [1 2 3] [1 2]
    '[... 2 ...] [1 2 3] [1 3]
    '[...] [] 1
    odd? 1 2
    :accept {:action :accept} {:action :accept, :more 1}
    :accept :accept :reject
    nil nil false))

(deftest only-what-differs-is-shown-as-different
  (are [expected actual lines] (= lines (expect/difference expected actual))
    [:continue] [{:action :continue}] nil
    [:accept] [(act/reject)] ["- :accept" "+ {:action :reject}"]
    [{:action :add-header, :name "A", :value #"1"} :accept]
    [(act/add-header "A" "1") (act/reject)]
    ["  {:action :add-header, :name \"A\", :value \"1\"}" "- :accept" "+ {:action :reject}"]
    '{:a #"x", :b 1, _ _} {:a "x", :b 2, :c 3}
    ["- {:a \"x\", :b 1, :c 3}" "+ {:a \"x\", :b 2, :c 3}"])
  (testing "in a message by its lines"
    (let [message {:sender "<a@example.org>", :recipients [], :headers [["A" "1"] ["B" "2"]], :body "x"}]
      (is (= ["  MAIL FROM:<a@example.org>" "  A: 1" "- B: 2" "+ B: 3" "  " "  x"]
             (expect/difference message (assoc-in message [:headers 1 1] "3")))))))

;; Conversations

(deftest a-conversation-of-a-file-is-played-to-every-sort-of-filter
  (milter/with-milter [server (assoc options :port 0)]
    (doseq [filter [options server (milter/milter-address server)]]
      (let [{:keys [pass? conversation unsent agreement]} (mt/run-conversation filter lottery)]
        (is (true? pass?))
        (is (= 13 (count conversation)))
        (is (every? :pass? conversation))
        (is (= [] unsent))
        (is (= #{:add-header} (:actions agreement)))))))

(deftest an-answer-that-is-not-as-expected-is-told-and-the-conversation-goes-on
  (let [{:keys [pass? conversation]}
        (mt/run-conversation options (into (with-login (after "lottery" [:accept]))
                                       (with-login (after "lottery" [:continue]))))]
    (is (false? pass?))
    (is (= [[:accept] [:continue]] (map :expected (remove :pass? conversation))))
    (is (= [550 550] (map (comp :smtp-code first :response) (remove :pass? conversation))))
    (is (every? (comp nat-int? :nanos) conversation))))

(deftest the-first-exchange-may-be-the-negotiation
  (let [conversation [{:event {:event :options, :version 2, :actions #{:add-header}}
                       :response '[{:event :options, :version 2, :actions #{:add-header}, _ _}]}]]
    (is (:pass? (mt/run-conversation options conversation)))
    (is (not (:pass? (mt/run-conversation options (assoc-in conversation [0 :response 0 'x] 1)))))
    (testing "and options win over its offer"
      (is (= 6 (:version (:agreement (mt/run-conversation options conversation {:offer :sendmail}))))))))

(deftest what-a-report-or-a-result-holds-is-a-conversation
  (let [filter (update options :handlers dissoc :mail)
        report (mt/run-message filter {:body "hello\n"})
        again (mt/run-conversation filter report)]
    (is (:pass? again))
    (is (= [:header :header :header :body :end-of-message]
           (map (comp :event :event) (:conversation report))))
    (is (= (map :response (:conversation report))
           (map :expected (:conversation again))
           (map :response (:conversation again))))
    (is (:pass? (mt/run-conversation filter again)))))

(deftest a-milter-that-closes-ends-the-conversation
  (let [closing {:handlers {:header (fn [_ context] (milter/close context))
                            :body (fn [_ context] context)}}
        conversation (fn [response]
                       [{:event {:event :header, :name "A", :value "1"}, :response [:continue]}
                        {:event {:event :body, :data "hello"}, :response response}])]
    (milter/with-milter [server (assoc closing :port 0)]
      (doseq [filter [closing server]]
        (testing "as was expected"
          (is (:pass? (mt/run-conversation filter (conversation :closed)))))
        (testing "as was not"
          (let [{:keys [pass? conversation unsent]}
                (mt/run-conversation filter (conj (conversation '_)
                                                  {:event {:event :end-of-message}}))]
            (is (not pass?))
            (is (re-find #"the milter (has )?closed the connection" (:problem (last conversation))))
            (is (= [:end-of-message] (map (comp :event :event) unsent)))))))
    (testing "and if it does not, though it was expected, the test fails"
      (is (not (:pass? (mt/run-conversation options (with-login (after "hi" :closed)))))))))

(deftest a-wrong-conversation-is-told
  (are [conversation text] (string/includes? (str (:message (thrown (mt/run-conversation options conversation))))
                                             text)
    [{:event :mail}] "an exchange of a conversation is a map with an event under :event, not {:event :mail}"
    [{:event {:event :mail}, :=> []}] "there is no key :=> in an exchange. Its keys are :event :expected"
    [{:event {:event :heder}}] "there is no event :heder; did you mean :header?"
    [{:event {:event :mail, :sendr "<a@example.org>"}}] "there is no key :sendr in the event :mail; did you mean :sender?"
    "[]" "a conversation is data or a source, not a string"))

(deftest a-conversation-is-printed-with-its-differences-in-place
  (is (= ["! MTA  --> end-of-message"
          "!      <-- 550 5.7.1 No lottery today"
          "         - :accept"
          "         + {:action :reply-code, :smtp-code 550, :enhanced-code \"5.7.1\", :text \"No lottery today\"}"]
         (->> (mt/run-conversation options (with-login (after "lottery" [:accept])))
              mt/print-conversation
              with-out-str
              string/split-lines
              (map #(string/replace % #"  \([0-9.]+ ms\)$" ""))
              (take-last 4)))))

;; clojure.test

(defmacro ^:private reported
  "Returns what clojure.test is told in the body."
  [& body]
  `(let [told# (atom [])]
     (binding [test/report #(swap! told# conj %)]
       ~@body)
     @told#))

(deftest a-check-passes
  (is (:pass? (mt/check-conversation options lottery)))
  (is (= :accept (:verdict (mt/check-message options {} {:verdict :accept} {:macros {"auth_authen" "alice"}}))))
  (is (= [:pass :pass] (map :type (reported (mt/check-conversation options lottery)
                                            (mt/check-message options {} {:verdict :reject, :at :mail}))))))

(deftest a-conversation-check-fails-with-a-ladder-at-its-own-line
  (let [[{:keys [type message expected actual file line]} & more]
        (reported (mt/check-conversation options (with-login (after "lottery" [:accept]))))]
    (is (nil? more))
    (is (= [:fail [:accept] "test_conversation_test.clj"] [type expected file]))
    (is (= :reply-code (:action (first actual))))
    (is (pos-int? line))
    (is (string/includes? message "! MTA  --> end-of-message"))))

(deftest a-message-check-fails-with-the-keys-that-differ
  (let [[{:keys [type message expected actual]}]
        (reported (mt/check-message options
                                    {:headers [["Subject" "hi"]], :body "hello\n"}
                                    {:verdict :accept
                                     :at :end-of-message
                                     :modifications [{:action :add-header, :name "X-Size", :value "8"}]}
                                    {:macros {"auth_authen" "alice"}}))]
    (is (= :fail type))
    (is (= {:modifications [(act/add-header "X-Size" "8")]} expected))
    (is (= '(not-as-expected :modifications) actual))
    (doseq [line ["  => accepted at end-of-message"
                  "! :modifications"
                  "    - {:action :add-header, :name \"X-Size\", :value \"8\"}"
                  "    + {:action :add-header, :name \"X-Size\", :value \"7\"}"]]
      (is (some #{line} (string/split-lines message)) line))
    (is (not (string/includes? message "! :verdict")))))

(deftest a-check-of-what-no-report-has-is-told
  (is (thrown-with-msg? MilterException #"there is no key :verdikt in a report"
        (mt/check-message options {} {:verdikt :accept}))))
