(ns temse.results-test
  "Results say why a filter failed, and are printed in a few lines."
  (:require
   [clojure.pprint :as pprint]
   [clojure.string :as string]
   [clojure.test :as test :refer [are deftest is testing]]
   [temse.action :as act]
   [temse.milter :as milter :refer [respond]]
   [temse.support :as support :refer [thrown with-logs]]
   [temse.test :as mt]
   [temse.test.check :as check])
  (:import
   (temse.client.internal BriefMap)))

(set! *warn-on-reflection* true)

(defn on-mail [_event _context]
  (throw (IllegalStateException. "no luck")))

(defn on-end-of-message [_event _context]
  [(act/add-header "X-Size" 42)])

;; ---- why a filter failed

(defn- errors
  "Returns kind, event, explanation and place of each error in the result of a message to a filter."
  [filter]
  (with-logs _
    (map (juxt :kind :event :explanation :exchange)
         (:errors (mt/run-message filter {:headers [["A" "1"] ["B" "2"]]})))))

(deftest a-report-says-what-went-wrong-and-where
  (are [filter expected] (= expected (errors filter))
    {:mail #'on-mail}
    [[:exception :mail "the handler of :mail threw java.lang.IllegalStateException: no luck" 0]]

    {:handlers {:header (fn [{:keys [name]} _] (when (= "B" name) (throw (Error.))))}}
    [[:exception :header "the handler of :header threw java.lang.Error" 1]]

    {:data (fn [_ _] (future (throw (Exception. "later"))))}
    [[:exception :data "the handler of :data threw java.lang.Exception: later" 0]]

    {:connect (fn [_ _] (throw (Exception. "early")))}
    [[:exception :connect "the handler of :connect threw java.lang.Exception: early" 0]]

    {:end-of-message #'on-end-of-message}
    [[:bad-action :end-of-message
      "at :end-of-message: :add-header of \"X-Size\": :value must be a string, it is 42; write \"42\"" 0]]

    {:mail (fn [_ _] [])}
    [])
  (testing "of bad returns"
    (is (= [[:bad-handler-return :mail 0]] (map (juxt first second peek) (errors {:mail (fn [_ _] 42)})))))
  (testing "of watchers"
    (is (= [[:exception :hello]] (map (juxt first second)
                                      (errors {:hello ^:no-reply (fn [_ _] (throw (Error.)))})))))
  (testing "with the Throwable"
    (let [problem (Exception. "mine")]
      (with-logs _
        (is (identical? problem (:error (first (:errors (mt/run-message {:mail (fn [_ _] (throw problem))} {}))))))))))

(deftest an-error-names-the-handler-and-its-line
  (with-logs _
    (is (re-find #"^temse\.results_test\$on_mail\.invoke.*\(results_test\.clj:\d+\)"
                 (first (:trace (first (:errors (mt/run-message {:mail #'on-mail} {})))))))
    (is (re-find #"^temse\.results-test/on-end-of-message \(results_test\.clj:\d+\)$"
                 (first (:trace (first (:errors (mt/run-message {:end-of-message #'on-end-of-message} {})))))))
    (is (re-find #"^temse\.results-test/on-end-of-message$"
                 (first (:trace (first (:errors (mt/run-message {:end-of-message on-end-of-message} {})))))))))

(deftest a-filter-that-cannot-begin-has-a-report-that-says-why
  (doseq [[init text] [[(fn [_] (throw (Exception. "no state"))) ":init threw java.lang.Exception: no state"]
                       [(fn [_] {:mine 1}) ":init returned a map that is no context"]]
          :let [filter {:init init, :handlers {:mail (fn [_ _])}}]]
    (with-logs _
      (let [{:keys [verdict at closed-by problem errors]} (mt/run-message filter {})]
        (is (= [nil :options :milter] [verdict at closed-by]))
        (is (string/includes? problem text))
        (is (string/includes? (:explanation (first errors)) text)))
      (is (= [nil nil] (map :verdict (mt/run-many filter [{} {}] {:connections 1}))))
      (let [{:keys [pass? errors conversation unsent]}
            (mt/run-conversation filter [{:event {:event :mail, :sender "<>"}, :response [:continue]}])]
        (is (false? pass?))
        (is (= [1 1] [(count conversation) (count unsent)]))
        (is (string/includes? (:explanation (first errors)) text)))
      (is (string/includes? (:message (thrown (mt/connect-to filter))) text)))))

(deftest errors-are-those-of-their-message
  (with-logs _
    (with-open [session (mt/connect-to {:header (fn [{:keys [value]} _] (when (= "bad" value) (throw (Error.))))})]
      (is (= [[] [[:header 1]] []]
             (for [value ["good" "bad" "good"]]
               (map (juxt :event :exchange)
                    (:errors (mt/run-message session {:headers [["A" "1"] ["B" value]]})))))))))

(deftest what-goes-wrong-when-the-connection-ends-is-told
  (let [filter {:end-of-message on-end-of-message, :disconnect (fn [_ _] (throw (IllegalStateException. "late")))}
        events #(map :event (:errors %))]
    (with-logs _
      (is (= [:end-of-message :disconnect] (events (mt/run-message filter {}))))
      (is (= [:disconnect] (events (mt/run-conversation filter [{:event {:event :abort}}]))))
      (is (= [[] [:disconnect]]
             (map events (mt/run-many (dissoc filter :end-of-message) [{} {}] {:connections 1})))))))

(deftest an-error-by-itself-is-printed-in-a-few-lines
  (with-logs _
    (let [endless (fn endless [n] (inc (long (endless n))))
          filter {:mail (fn [_ _] (endless 1))}]
      (doseq [error [(first (:errors (mt/run-message filter {})))
                     (first (:findings (check/check-filter filter {:runs 1})))]]
        (is (string/includes? (pr-str error) "StackOverflowError"))
        (is (< (count (pr-str error)) 2000))
        (is (instance? StackOverflowError (:error error)))))))

(deftest a-filter-that-runs-elsewhere-has-no-errors-that-could-be-told
  (milter/with-milter [server {:port 0, :handlers {:mail (fn [_ _] nil)}}]
    (is (not (contains? (mt/run-message (milter/milter-address server) {}) :errors)))))

(deftest ladders-show-errors-where-they-occurred
  (with-logs _
    (let [lines (string/split-lines
                  (with-out-str (mt/print-report (mt/run-message {:mail #'on-mail} {}))))]
      (is (= "  MTA  --> mail <sender@example.org>" (first lines)))
      (is (= "       !!! the handler of :mail threw java.lang.IllegalStateException: no luck" (nth lines 2)))
      (is (string/starts-with? (nth lines 3) "           at temse.results_test$on_mail")))
    (is (string/includes?
          (with-out-str (mt/print-conversation
                          (mt/run-conversation {:mail #'on-mail} [{:event {:event :mail, :sender "<>"}, :response [:continue]}])))
          "!      <-- temporary-failure"))))

(defmacro ^:private failure
  "Returns the message of the failure that clojure.test is told of in the body."
  [& body]
  `(let [told# (atom nil)]
     (binding [test/report #(reset! told# (:message %))]
       (with-logs logs# ~@body))
     @told#))

(deftest failed-checks-say-why-the-filter-failed
  (let [text "the handler of :mail threw java.lang.IllegalStateException: no luck"]
    (is (string/includes? (failure (mt/check-message {:mail #'on-mail} {} {:verdict :accept})) text))
    (is (string/includes? (failure (mt/check-conversation {:mail #'on-mail}
                                                          [{:event {:event :mail, :sender "<>"}, :response [:continue]}]))
                          text))))

(deftest every-key-of-a-report-may-be-expected
  (with-logs _
    (let [report (mt/run-message {:mail #'on-mail} {})]
      (doseq [k (keys report)]
        (is (nil? (failure (mt/check-message {:mail #'on-mail} {} {k '_}))) k)))
    (is (nil? (failure (mt/check-message {} {} {:fate :delivered, :errors []
                                                :smtp '{:message {:smtp-code 250, _ _}, _ _}}))))))

;; ---- filters in all forms

(def ^:private rejecting
  {:mail (fn [_ _] [(act/reject)])})

(def ^:private options
  {:handlers rejecting})

(deftest every-function-takes-handlers-options-and-vars-of-them
  (doseq [filter [rejecting options #'rejecting #'options]
          :let [mail {:event :mail, :sender "<a@b.example>"}]]
    (is (= :reject (:verdict (mt/run-message filter {}))))
    (is (= [:reject] (map :verdict (mt/run-many filter [{}]))))
    (is (:pass? (mt/run-conversation filter [{:event mail, :response [:reject]}])))
    (is (= [(act/reject)] (mt/response (mt/fire filter mail (mt/context)))))
    (is (= [(act/reject)] (:response (peek (check/play filter [mail])))))
    (with-open [session (mt/connect-to filter)]
      (is (= [(act/reject)] (mt/send-event session mail)))))
  (testing "and tells a mistake"
    (is (string/includes? (:message (thrown (mt/run-message {:mial (fn [_ _])} {}))) "did you mean :mail?"))
    (is (string/includes? (:message (thrown (mt/run-message {:handelrs {:mail (fn [_ _])}} {})))
                          "did you mean :handlers?"))))

;; ---- at a REPL

(def ^:private large
  {:headers (repeat 500 ["X" (apply str (repeat 1000 "x"))]), :body (byte-array 1000000 (byte 97))})

(deftest results-are-printed-in-a-few-lines
  (with-logs _
    (let [filter {:handlers {:mail #'on-mail, :header (fn [_ context] context)
                             :end-of-message (fn [_ context] (respond context (act/change-body (byte-array 100000))))}}]
      (doseq [result [(mt/run-message {} {})
                      (mt/run-message filter large)
                      (mt/run-message (update filter :handlers dissoc :mail) large)
                      (mt/run-conversation filter [{:event {:event :mail, :sender "<>"}}])
                      (check/check-filter filter {:runs 3, :seed 1})
                      (mt/context {:mine (byte-array 100000), :endless (range)})]
              text [(pr-str result) (with-out-str (pprint/pprint result))]]
        (is (> 2500 (count text)))
        (is (> 24 (count (string/split-lines text))))
        (is (every? #(> 220 (count %)) (string/split-lines text)))))))

(deftest what-matters-comes-first
  (is (= ["{:verdict :accept" " :at :end-of-message" " :fate :delivered" " :reply {:action :continue}"
          " :modifications []"]
         (take 5 (string/split-lines (pr-str (mt/run-message {} {}))))))
  (with-logs _
    (is (string/includes? (pr-str (mt/run-message {:mail #'on-mail} {}))
                          ":errors [:exception the handler of :mail threw java.lang.IllegalStateException: no luck]"))))

(deftest a-result-is-a-map-like-any-other
  (let [result (mt/run-message {} {})
        plain (into {} result)]
    (is (instance? BriefMap result))
    (is (not (instance? BriefMap plain)))
    (is (= plain result))
    (is (= result plain))
    (is (= (hash plain) (hash result)))
    (is (= :accept (result :verdict) (:verdict result) (get result :verdict)))
    (is (= (dissoc plain :at) (dissoc result :at)))
    (is (= (assoc plain :a 1) (assoc result :a 1) (merge result {:a 1}) (conj result [:a 1])))
    (is (= (count plain) (count result) (reduce-kv (fn [n _ _] (inc (long n))) 0 result)))
    (is (= {:a 1} (meta (with-meta result {:a 1}))))
    (is (= {} (empty result)))
    (is (= :none (:missing result :none)))
    (is (= (find plain :at) (find result :at)))))

(deftest contexts-and-sessions-are-printed-short
  (let [seen (atom nil)
        large (byte-array 100000)]
    (with-open [session (mt/connect-to {:mail (fn [_ context] (reset! seen (assoc context :mine 1)))
                                        :end-of-message (fn [_ _])})]
      (is (= "#<session of postfix, version 6, open>" (pr-str session)))
      (mt/send-event session {:event :mail, :sender "<a@b.example>"}))
    (is (re-find #"^#<context of connection \d+ of in-process \{:mine 1\}>$" (pr-str @seen)))
    (is (= "#<100000 bytes>\n" (with-out-str (pprint/pprint large))))))

(deftest printing-calls-no-code-of-users
  (let [hostile (reify Object (toString [_] (throw (Error. "printed"))))]
    (is (string/includes? (pr-str (mt/context {:mine hostile, :more [hostile {:a hostile}]})) ":mine #<temse.results_test$"))))

(deftest hostile-mail-reaches-no-terminal
  (let [report (mt/run-message {} {:sender "<\u001b[2J@x.example>", :headers [["Subject" "\u001b]0;owned\u0007 \u202e"]]})
        text (str (pr-str report) (with-out-str (mt/print-report report)))]
    (is (not (re-find #"[\u001b\u0007\u202e]" text)))))

(deftest a-long-conversation-is-shown-in-part
  (let [lines (fn [headers]
                (string/split-lines
                  (with-out-str
                    (mt/print-report (mt/run-message {:header (fn [{:keys [name]} _]
                                                                (when (= "Odd" name) [(act/continue) nil]))
                                                      :end-of-message (fn [_ _] [(act/add-header "X" "y")])}
                                                     {:headers headers})))))
        many (lines (repeat 1000 ["A" "1"]))]
    (is (> 40 (count many)))
    (is (some #{"       ... 989 more header events, answered alike"} many))
    (is (= 12 (count (filter #(re-find #"--> header" %) (lines (repeat 12 ["A" "1"]))))))))

(defn- endless
  [n]
  (inc (long (endless n))))

(deftest a-stack-overflow-is-logged-in-a-hundred-lines
  (with-logs logs
    (let [{:keys [errors]} (mt/run-message {:mail (fn [_ _] (endless 1))} {})]
      (is (= "the handler of :mail threw java.lang.StackOverflowError" (:explanation (first errors))))
      (is (>= 5 (count (:trace (first errors)))))
      (is (= [100] (keep (fn [{:keys [^Throwable throwable]}] (some-> throwable .getStackTrace alength))
                         @logs))))))
